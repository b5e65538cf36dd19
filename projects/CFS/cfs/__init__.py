"""Choose pre-training data: catastrophic forgetting scores, data filters; for FastReID."""

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
from reid_core.data.filter_hook import REGISTERED

from . import filters
from .config import add_cfs_config, load_config
from .filters.hook import FILTERS
from .scores.selection import select

if FILTERS not in REGISTERED:
    REGISTERED.append(FILTERS)  # training sets ask them

__all__ = ["add_cfs_config", "filters", "load_config", "select"]
