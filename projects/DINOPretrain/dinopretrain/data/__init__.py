"""Images without labels; importing this registers their data sets with FastReID."""

import reid_core  # noqa: F401  (first: a spawned worker imports this before anything else)

from .datasets import ImageFolder, LUPerson, ToyUnlabeled

__all__ = ["ImageFolder", "LUPerson", "ToyUnlabeled"]
