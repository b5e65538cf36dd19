"""Swin Transformer that pads its maps before it rolls them, with SOLIDER's semantic controller.

Sources: Liu et al., "Swin Transformer", ICCV 2021; Chen et al., "Beyond Appearance: a Semantic
Controllable Self-Supervised Learning Framework for Human-Centric Visual Tasks" (SOLIDER), CVPR
2023, released code. timm's Swin shrinks windows that are larger than a map and rolls before it
pads, which is something else wherever a map is no multiple of the window, as for person images; its
attention and patch merging are used here.

Letters: B images, (H, W) a map, C its channels, D channels of the last stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, PatchEmbed
from timm.models.swin_transformer import (
    PatchMerging,
    WindowAttention,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn

WINDOW = 7
SHIFT = WINDOW // 2  # of every other block
PATCH = 4


def shift_mask(x: Tensor) -> Tensor:
    """What attention adds in rolled windows, (windows, 49, 49): -100 between parts that were apart.

    Args:
        x: map (B, H, W, C) before it is padded; the mask has its device and dtype.
    """
    height, width = (side + -side % WINDOW for side in x.shape[1:3])
    parts = torch.zeros(1, height, width, 1, device=x.device)
    slices = (slice(0, -WINDOW), slice(-WINDOW, -SHIFT), slice(-SHIFT, None))
    for number, (rows, columns) in enumerate((r, c) for r in slices for c in slices):
        parts[:, rows, columns] = number
    windows = window_partition(parts, (WINDOW, WINDOW)).flatten(1)
    apart = windows[:, None] != windows[:, :, None]
    return torch.zeros(apart.shape, device=x.device, dtype=x.dtype).masked_fill(apart, -100.0)


class SwinBlock(nn.Module):
    """Attention within windows of a padded, then rolled map, and an MLP.

    Args:
        dim: C.
        num_heads: of the attention.
        shift: rows and columns by which windows are moved, 0 or 3.
        drop_path: probability.
    """

    def __init__(self, dim: int, num_heads: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads=num_heads, window_size=WINDOW)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, H, W, C) -> (B, H, W, C); ``mask`` is that of shifted windows."""
        x = x + self.drop_path(self._attend(self.norm1(x), mask if self.shift else None))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
        size, (rows, columns) = (WINDOW, WINDOW), x.shape[1:3]
        x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        windows = self.attn(window_partition(x, size).flatten(1, 2), mask=mask)
        x = window_reverse(windows.unflatten(1, size), size, rows, columns)
        x = torch.roll(x, (self.shift, self.shift), (1, 2))
        return x[:, :height, :width]


class SwinStage(nn.Module):
    """Blocks, every other with shifted windows, and patch merging behind them but for the last."""

    def __init__(self, dim: int, num_heads: int, rates: Sequence[float], last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(dim, num_heads, SHIFT * (number % 2), rate)
            for number, rate in enumerate(rates)
        )
        self.downsample = nn.Identity() if last else PatchMerging(dim, 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) -> (B, H / 2, W / 2, 2C), of the last stage as it was."""
        mask = shift_mask(x)
        for block in self.blocks:
            x = block(x, mask)
        return self.downsample(x)


class SwinBackbone(nn.Module):
    """Swin with four stages; its feature is the mean of the last map after its norm.

    Args:
        embed_dim: C of the first stage.
        depths: blocks of each stage.
        num_heads: of each stage.
        semantic_weight: w in [0, 1] of SOLIDER's controller, which scales and moves the maps
            between stages; negative for none.
        drop_path_rate: of the last block; it grows from 0.
    """

    semantic_weights: Tensor  # (2,): w, 1 - w

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        semantic_weight: float = -1.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim * 2 ** (len(depths) - 1)
        self.patch_embed = PatchEmbed(
            None, PATCH, 3, embed_dim, norm_layer=nn.LayerNorm, flatten=False, output_fmt="NHWC"
        )
        step = drop_path_rate / max(sum(depths) - 1, 1)
        rates = iter([number * step for number in range(sum(depths))])
        self.stages = nn.ModuleList(
            SwinStage(embed_dim * 2**i, num_heads[i], [*islice(rates, depth)], i + 1 == len(depths))
            for i, depth in enumerate(depths)
        )
        self.norm = nn.LayerNorm(self.embed_dim)
        pair = torch.tensor([semantic_weight, 1 - semantic_weight])
        self.register_buffer("semantic_weights", pair, persistent=False)
        self.semantic_embed_w, self.semantic_embed_b = nn.ModuleList(), nn.ModuleList()
        if semantic_weight >= 0:
            dims = [embed_dim * 2 ** (i + 1) for i in range(len(depths) - 1)]
            for controls in (self.semantic_embed_w, self.semantic_embed_b):
                controls.extend(nn.Linear(2, dim) for dim in dims)
                controls.requires_grad_(False)  # as released

    def forward_features(self, images: Tensor, *_: Any) -> Tensor:
        """The last map after the norm, (B, h, w, D), of images (B, 3, H, W)."""
        x = self.patch_embed(images)
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number < len(self.semantic_embed_w):
                scale = F.softplus(self.semantic_embed_w[number](self.semantic_weights))
                x = scale * x + self.semantic_embed_b[number](self.semantic_weights)
        return self.norm(x)

    def forward(self, images: Tensor, *_: Any) -> Tensor:
        """Feature (B, D, 1, 1), which all heads take; camera and viewpoint ids are not used."""
        return self.forward_features(images).mean((1, 2))[:, :, None, None]
