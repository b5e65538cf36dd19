"""Data sets of this project; importing this registers them with FastReID."""

from . import veri_viewpoints  # noqa: F401  (FastReID's VeRi gains viewpoints)
from .csv_reid import CSVReID
from .folder_reid import FolderReID
from .occluded_duke import OccludedDuke
from .toyreid import ToyReID

__all__ = ["CSVReID", "FolderReID", "OccludedDuke", "ToyReID"]
