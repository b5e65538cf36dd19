"""The projection head of DINO.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021,
section 3.1 and appendix C. Parameter names are those of the released code, so that its checkpoints
load.

Letters: B images, D dimensions of the backbone's feature, K prototypes.
"""

from __future__ import annotations

from typing import Any

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


class IBOTHead(DINOHead):
    """DINO's head for [cls] and for patches, which may have a last layer of their own.

    Source: Zhou et al., ICLR 2022, section 3.2; MLP and bottleneck are always shared.

    Args:
        patch_dim: K2, outputs for patches; None: the last layer is shared, and K2 = K.
        **sizes: and others, see :class:`DINOHead`.
    """

    def __init__(self, *sizes: Any, patch_dim: int | None = None, **others: Any) -> None:
        super().__init__(*sizes, **others)
        self.last_layer2: Prototypes | None = None
        if patch_dim is not None:
            bottleneck = self.last_layer.weight_v.shape[1]
            fixed = not self.last_layer.weight_g.requires_grad
            self.last_layer2 = Prototypes(bottleneck, patch_dim, fixed)

    def of_both(self, cls: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """[cls] (n, D) and patches (M, D) -> (n, K) and (M, K2), through the MLP as one batch."""
        tokens = F.normalize(self.mlp(torch.cat([cls, patches])), dim=-1)
        last = self.last_layer2 or self.last_layer
        return self.last_layer(tokens[: len(cls)]), last(tokens[len(cls) :])
