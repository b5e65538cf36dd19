"""Choose pre-training data: catastrophic forgetting scores, data filters; for FastReID."""

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)

from .selection import select

__all__ = ["select"]
