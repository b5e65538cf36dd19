"""Data sets of this project; importing this registers them with FastReID."""

from reid_core.data import veri_viewpoints  # noqa: F401  (FastReID's VeRi gains viewpoints)
from reid_core.data.csv_reid import CSVReID
from reid_core.data.folder_reid import FolderReID
from reid_core.data.occluded_duke import OccludedDuke
from toyreid.reid import ToyReID

__all__ = ["CSVReID", "FolderReID", "OccludedDuke", "ToyReID"]
