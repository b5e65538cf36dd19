"""Data filters; a new one is a class with ``@FILTER_REGISTRY.register()`` and an import here."""

from .base import DataFilter, Drop, Items
from .blur_filter import BlurFilter
from .cfs_filter import CFSFilter
from .duplicate_filter import DuplicateFilter
from .list_filter import ListFilter
from .neighbour_filter import NeighbourFilter
from .registry import FILTER_REGISTRY, build_filters
from .size_filters import AspectRatioFilter, ResolutionFilter

__all__ = [
    "FILTER_REGISTRY",
    "AspectRatioFilter",
    "BlurFilter",
    "CFSFilter",
    "DataFilter",
    "Drop",
    "DuplicateFilter",
    "Items",
    "ListFilter",
    "NeighbourFilter",
    "ResolutionFilter",
    "build_filters",
]
