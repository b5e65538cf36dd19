"""The projection head of DINO.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021,
section 3.1 and appendix C. Parameter names are those of the released code, so that its checkpoints
load.

Letters: B images, D dimensions of the backbone's feature, K prototypes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DINOHead(nn.Module):
    """MLP, L2 normalisation, and a weight-normalised linear layer to K outputs.

    Args:
        in_dim: D.
        out_dim: K, 65536 in the paper; smaller for small batches.
        hidden_dim: width of the MLP.
        bottleneck_dim: dimensions of the normalised feature in front of the last layer.
        norm_last_layer: keep the norm of each prototype at 1 (stabler); False learns it.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        norm_last_layer: bool = True,
    ) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, bottleneck_dim),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = Prototypes(bottleneck_dim, out_dim, norm_last_layer)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D) -> logits (B, K), before temperature and centring."""
        return self.last_layer(F.normalize(self.mlp(features), dim=-1))


class Prototypes(nn.Module):
    """A linear layer without bias whose weight is ``g * v / |v|`` (Salimans & Kingma, 2016).

    ``g`` stays 1 with ``fixed_norm``.
    """

    def __init__(self, in_dim: int, out_dim: int, fixed_norm: bool) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(out_dim, 1), requires_grad=not fixed_norm)
        self.weight_v = nn.Parameter(torch.empty(out_dim, in_dim))
        nn.init.kaiming_uniform_(self.weight_v, a=5**0.5)  # as nn.Linear

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in_dim) -> (B, K)."""
        return F.linear(features, self.weight_g * F.normalize(self.weight_v, dim=1))
