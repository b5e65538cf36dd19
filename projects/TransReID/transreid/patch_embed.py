"""Overlapping patch embedding and the position embeddings that go with its grid.

Source: He et al., "TransReID", ICCV 2021, section 3.1 (overlapping patches, equation 2) and the
released code (position embeddings resized bilinearly on the (H, W) grid, [cls] kept apart).

Letters: B images, N patches of a (rows, columns) grid, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from fastreid_compat.errors import UserError
from torch import Tensor, nn


def patch_grid(
    image_size: Sequence[int], patch_size: Sequence[int], stride: Sequence[int]
) -> tuple[int, int]:
    """Rows and columns of patches: ``(X - P) // S + 1`` along each side (equation 2).

    Args:
        image_size: (H, W) in pixels.
        patch_size: (P_h, P_w) in pixels.
        stride: (S_h, S_w) in pixels; smaller than the patch makes patches overlap.

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
    rows, columns = (
        (x - p) // s + 1 for x, p, s in zip(image_size, patch_size, stride, strict=True)
    )
    return rows, columns


class OverlapPatchEmbed(nn.Module):
    """Patches as one convolution whose stride may be smaller than its kernel."""

    def __init__(
        self,
        image_size: Sequence[int],
        patch_size: Sequence[int],
        stride: Sequence[int],
        embed_dim: int,
        in_chans: int = 3,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.grid_size = patch_grid(image_size, patch_size, stride)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        kernel, step = (patch_size[0], patch_size[1]), (stride[0], stride[1])
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel, step, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to patch tokens (B, N, D), row by row.

        Raises:
            ValueError: the images do not have the size that the position embeddings are made for.
        """
        if tuple(images.shape[-2:]) != self.image_size:
            raise ValueError(
                f"images are {tuple(images.shape[-2:])} (H, W), the backbone is built for "
                f"{self.image_size}: INPUT.SIZE_TRAIN and INPUT.SIZE_TEST must be equal"
            )
        return self.proj(images).flatten(2).transpose(1, 2)


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
    prefix, patches = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    patches = patches.reshape(1, *old_grid, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=tuple(new_grid), mode=mode, align_corners=False)
    patches = patches.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.cat([prefix, patches], dim=1)
