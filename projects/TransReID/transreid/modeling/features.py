"""What is compared: the normalised feature of an image, with its mirror image or without."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def features_of(model: nn.Module, batch: dict[str, Tensor], flip: bool = False) -> Tensor:
    """L2-normalised float32 features (B, D) of a batch, as the evaluation compares them."""
    features = model(batch).float()
    if flip:
        flipped = model({**batch, "images": batch["images"].flip(3)}).float()
        features = (features + flipped) / 2
    return F.normalize(features)
