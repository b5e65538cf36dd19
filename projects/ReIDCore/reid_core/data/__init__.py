"""Data sets: names, opening, images of one's own."""

from . import veri_viewpoints  # noqa: F401  (FastReID's VeRi gains viewpoints)
from .csv_reid import CSVReID
from .folder_reid import FolderReID
from .msmt17_train_val import MSMT17TrainVal
from .occluded_duke import OccludedDuke

__all__ = ["CSVReID", "FolderReID", "MSMT17TrainVal", "OccludedDuke"]
