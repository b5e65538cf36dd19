"""Choose pre-training data: catastrophic forgetting scores, data filters; for FastReID."""

import dinopretrain  # noqa: F401  (its images without labels are what is scored)
from reid_core.config import Project, load_config, register_project
from reid_core.data.filter_hook import REGISTERED

from . import filters
from .config import add_cfs_config
from .filters.hook import FILTERS
from .scores.selection import select

if FILTERS not in REGISTERED:
    REGISTERED.append(FILTERS)  # training sets ask them

register_project(Project("cfs", add_cfs_config))

__all__ = ["add_cfs_config", "filters", "load_config", "select"]
