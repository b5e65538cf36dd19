"""Choose pre-training data: catastrophic forgetting scores, data filters; for FastReID."""

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
from fastreid_compat.item_filters import REGISTERED

from . import filters
from .config import add_cfs_config, load_config
from .filters.hook import FILTERS
from .selection import select

if FILTERS not in REGISTERED:
    REGISTERED.append(FILTERS)  # training sets ask them

__all__ = ["add_cfs_config", "filters", "load_config", "select"]
