"""The released augmentation; data sets of one's own are in reid_core.data."""

from . import transforms  # noqa: F401  (registers itself)
