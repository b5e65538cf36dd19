"""What all programs ask of any model: the features that are compared, and its side information."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def features_of(model: nn.Module, batch: dict[str, Tensor], flip: bool = False) -> Tensor:
    """L2-normalised float32 features (B, D) of a batch, as the evaluation compares them."""
    features = model(batch).float()
    if flip:
        flipped = model({**batch, "images": batch["images"].flip(3)}).float()
        features = (features + flipped) / 2
    return F.normalize(features)


def side_embedding_of(model: nn.Module) -> Any:
    """The :class:`.side_embedding.SideInformationEmbedding` of a model; None without one.

    In a graph that is being exported another module of the same ids may stand in its place.
    """
    return getattr(getattr(model, "backbone", None), "sie", None)
