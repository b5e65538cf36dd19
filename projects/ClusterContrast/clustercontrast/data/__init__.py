"""Images with pseudo labels: data sets, samplers, augmentation, loaders of one epoch."""

from . import crops, transforms  # noqa: F401  (register themselves)
