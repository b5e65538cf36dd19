"""Data filters; a new one is a class with ``@FILTER_REGISTRY.register()`` and an import here."""

from .base import DataFilter, Drop, Items
from .cfs_filter import CFSFilter
from .duplicate_filter import DuplicateFilter
from .limit_filters import AspectRatioFilter, BlurFilter, ResolutionFilter
from .list_filter import ListFilter
from .neighbour_filter import NeighbourFilter
from .registry import FILTER_REGISTRY, build_filters

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
