"""Drop path whose rate is a tensor, so that torch.compile has one graph for all blocks.

Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016. timm's module holds its rate
as a number, which is a constant of the graph: each block of a ViT has another one, and torch would
compile each, or give up at its limit of variants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from reid_common.errors import UserError
from torch import Tensor, nn


class SharedDropPath(nn.Module):
    """What timm's DropPath does, with the share of samples that are kept as a buffer.

    It takes the place of timm's module by becoming its class (:func:`share_drop_paths`), so that
    what holds that module need not know. Its random numbers are others than timm's.
    """

    keep: Tensor
    scale_by_keep: bool

    def forward(self, x: Tensor) -> Tensor:
        """Drop samples of x (B, ...) to 0 in training, and scale up the others."""
        if not self.training:
            return x
        draws = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), device=x.device)
        kept = (draws < self.keep).to(x.dtype)
        return x * (kept / self.keep.to(x.dtype) if self.scale_by_keep else kept)


def share_drop_paths(parts: Iterable[nn.Module]) -> list[nn.Module]:
    """Make the drop paths of parts that will be compiled shared ones, in place; returns them."""
    from timm.layers import DropPath  # late: timm takes seconds

    parts = list(parts)
    for part in parts:
        device = next((p.device for p in part.parameters()), None)
        for module in part.modules():
            if type(module) is DropPath and 0 < module.drop_prob < 1:
                keep = torch.tensor(1 - module.drop_prob, device=device)
                module.register_buffer("keep", keep, persistent=False)
                module.__class__ = cast(Any, SharedDropPath)
    return parts


def blocks_to_compile(backbone: nn.Module) -> list[nn.Module]:
    """The blocks of a ViT, with shared drop paths.

    Raises:
        UserError: torch 2.4 cannot recompute compiled blocks.
    """
    if getattr(backbone, "gradient_checkpointing", False) and torch.__version__ < "2.5":
        raise UserError(
            "MODEL.COMPILE with MODEL.BACKBONE.GRADIENT_CHECKPOINTING needs torch 2.5, this is "
            f"{torch.__version__}; set one of them False"
        )
    return share_drop_paths(cast(nn.ModuleList, backbone.blocks))
