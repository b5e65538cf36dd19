"""What every method trains, and keeps an average of: a backbone and a head behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """A backbone, (B, 3, H, W) -> maps (B, D, h, w), and the projection head, (B, D) -> (B, K)."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def features(self, images: Tensor) -> Tensor:
        """Features (B, D): [cls] of a ViT, the spatial mean of a CNN."""
        return self.backbone(images).mean((2, 3))

    def forward(self, *view_groups: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of all views, each group (of one size) as one batch.

        Args:
            view_groups: images (n_i, 3, H_i, W_i).

        Returns:
            (sum n_i, D) and (sum n_i, K), in the order of the groups.
        """
        features = torch.cat([self.features(views) for views in view_groups])
        return features, self.head(features)
