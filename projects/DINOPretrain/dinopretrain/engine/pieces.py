"""Pieces of a batch, each of which goes through the model on its own."""

from __future__ import annotations

from typing import Any

# What a model gets of a batch; masks are of masked image modelling
VIEWS = ("global_views", "local_views", "masks")


def pieces(batch: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """Cut the views of a batch, images first, into pieces of ``size`` images; 0 for one piece."""
    count = len(batch["global_views"])
    size = size or count
    return [
        {name: batch[name][first : first + size] for name in VIEWS if name in batch}
        for first in range(0, count, size)
    ]
