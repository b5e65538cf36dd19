"""Overlapping patch embedding and the position embeddings that go with its grid.

Source: He et al., "TransReID", ICCV 2021, section 3.1 (overlapping patches, equation 2) and the
released code (position embeddings resized bilinearly on the (H, W) grid, [cls] kept apart).

Letters: B images, N patches of a (rows, columns) grid, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from reid_common.errors import UserError
from reid_core.config.values import check_choice
from torch import Tensor, nn

from .ics_stem import STEM_CHANNELS, STEM_STRIDE, ics_stem

STEMS = ("patch", "ics")


def patch_grid(
    image_size: Sequence[int], patch_size: Sequence[int], stride: Sequence[int]
) -> tuple[int, int]:
    """Rows and columns of patches: ``(X - P) // S + 1`` along each side (equation 2), in pixels.

    Raises:
        UserError: the image is smaller than one patch, or a stride is not positive.
    """
    if min(stride) < 1:
        raise UserError(f"MODEL.BACKBONE.STRIDE_SIZE must be positive, got {tuple(stride)}")
    if image_size[0] < patch_size[0] or image_size[1] < patch_size[1]:
        raise UserError(
            f"image size {tuple(image_size)} is smaller than one patch {tuple(patch_size)}; "
            "raise INPUT.SIZE_TRAIN and INPUT.SIZE_TEST or choose a ViT with smaller patches"
        )
    (height, width), (p_h, p_w), (s_h, s_w) = image_size, patch_size, stride
    return (height - p_h) // s_h + 1, (width - p_w) // s_w + 1


class OverlapPatchEmbed(nn.Module):
    """Patches as one convolution whose stride may be smaller than its kernel.

    Args:
        image_size: (H, W) in pixels, as all sizes here.
        patch_size: (P_h, P_w).
        stride: (S_h, S_w).
        embed_dim: D.
        in_chans: channels of the images.
        bias: of the convolution.
        stem: "patch", the convolution alone; "ics", the IBN convolution stem in front of it, which
            halves the image, so that the convolution has kernel P / 2 and stride S / 2. The grid
            of patches is the same.

    Raises:
        UserError: unknown stem; sizes that "ics" cannot halve.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        patch_size: Sequence[int],
        stride: Sequence[int],
        embed_dim: int,
        in_chans: int = 3,
        bias: bool = True,
        stem: str = "patch",
    ) -> None:
        super().__init__()
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.grid_size = patch_grid(image_size, patch_size, stride)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        kernel, step = (patch_size[0], patch_size[1]), (stride[0], stride[1])
        self.patch_size, self.stride = kernel, step
        check_choice("MODEL.BACKBONE.STEM", stem, STEMS)
        self.conv: nn.Module | None = None
        if stem == "ics":
            self.conv = ics_stem(in_chans)
            in_chans = STEM_CHANNELS
            kernel, step = _halved(kernel, step, self.image_size)
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel, step, bias=bias)

    def forward(self, images: Tensor, any_size: bool = False) -> Tensor:
        """Map images (B, 3, H, W) to patch tokens (B, N, D), row by row.

        Raises:
            ValueError: the images do not have the size that the position embeddings are made for,
                and ``any_size`` does not say that they need not.
        """
        if not any_size and tuple(images.shape[-2:]) != self.image_size:
            raise ValueError(
                f"images are {tuple(images.shape[-2:])} (H, W), the backbone is built for "
                f"{self.image_size}: INPUT.SIZE_TRAIN and INPUT.SIZE_TEST must be equal"
            )
        maps = images if self.conv is None else self.conv(images)
        return self.proj(maps).flatten(2).transpose(1, 2)


def _halved(
    kernel: tuple[int, int], stride: tuple[int, int], image_size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Kernel and stride behind a stem that halves the image."""
    for name, sides in (("patch", kernel), ("STRIDE_SIZE", stride), ("image", image_size)):
        if any(side % STEM_STRIDE for side in sides):
            raise UserError(
                f"MODEL.BACKBONE.STEM ics halves the image: the {name} size {tuple(sides)} must be "
                "even; set STRIDE_SIZE to [16, 16] or another even number"
            )
    (p_h, p_w), (s_h, s_w) = kernel, stride
    return (p_h // STEM_STRIDE, p_w // STEM_STRIDE), (s_h // STEM_STRIDE, s_w // STEM_STRIDE)


def pos_embed_for_view(
    pos_embed: Tensor,
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_prefix_tokens: int = 1,
) -> Tensor:
    """Position embeddings for a view of another size, in the forward pass, as DINO does.

    Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021,
    released code: bicubic, with scale factors of (new + 0.1) / old, so that rounding never takes a
    patch off; the 0.1 moves the points where the embeddings are read, too. Arguments and result
    are those of :func:`resize_pos_embed`.
    """
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed
    scale = [(new + 0.1) / old for new, old in zip(new_grid, old_grid, strict=True)]
    return _interpolated(pos_embed, old_grid, num_prefix_tokens, scale_factor=scale, mode="bicubic")


def resize_pos_embed(
    pos_embed: Tensor,
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_prefix_tokens: int = 1,
    mode: str = "bilinear",
) -> Tensor:
    """Resize position embeddings from one patch grid to another.

    Args:
        pos_embed: (1, num_prefix_tokens + rows * columns, D); the prefix ([cls]) is kept as it is.
        old_grid: (rows, columns) that ``pos_embed`` was made for. It is never guessed: LUPerson's
            16x8 is no square.
        new_grid: (rows, columns) wanted.
        num_prefix_tokens: tokens in front of the patches.
        mode: "bilinear" as released (align_corners=False), or "bicubic".

    Returns:
        (1, num_prefix_tokens + new rows * new columns, D).

    Raises:
        ValueError: ``old_grid`` does not have as many patches as ``pos_embed``.
    """
    num_patches = pos_embed.shape[1] - num_prefix_tokens
    if old_grid[0] * old_grid[1] != num_patches:
        raise ValueError(
            f"position embeddings of {num_patches} patches cannot come from a grid of "
            f"{old_grid[0]}x{old_grid[1]}; set MODEL.BACKBONE.PRETRAIN_GRID to (rows, columns)"
        )
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed.clone()
    return _interpolated(pos_embed, old_grid, num_prefix_tokens, size=tuple(new_grid), mode=mode)


def _interpolated(
    pos_embed: Tensor, grid: tuple[int, int], num_prefix_tokens: int, **how: Any
) -> Tensor:
    """Position embeddings of a grid, those of the patches put through F.interpolate."""
    prefix, patches = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    patches = F.interpolate(patches.unflatten(1, tuple(grid)).permute(0, 3, 1, 2), **how)
    return torch.cat([prefix, patches.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
