"""Benchmarks: contenders that take turns on this machine, and ratios to a named baseline."""

import reid_core  # noqa: F401  (first: repairs FastReID)
