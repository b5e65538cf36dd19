"""Rearrangement of the jigsaw patch module: shift, shuffle, split into parts.

Source: He et al., "TransReID", ICCV 2021, section 3.2, and the released code, which released
weights and reported numbers depend on. Where the two differ, this is the code: a shift of m moves
m - 1 patch tokens to the end (the paper says m), and an odd token count is made even by appending
the second-to-last token before the shuffle.

Letters: B images, N patch tokens, D dimensions, k parts, n = N // k tokens a part.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shift_tokens(patches: Tensor, shift_num: int) -> Tensor:
    """Move the first ``shift_num - 1`` patch tokens to the end: (B, N, D) -> (B, N, D)."""
    return torch.roll(patches, shifts=-(shift_num - 1), dims=1)


def shuffle_tokens(patches: Tensor, groups: int) -> Tensor:
    """Deal the patch tokens out like cards: view as (groups, N / groups), transpose, flatten.

    Returns:
        (B, N', D) with N' = N, or the next multiple of ``groups`` when N is none.
    """
    missing = -patches.shape[1] % groups
    if missing:
        patches = torch.cat([patches, patches[:, -2:-1].expand(-1, missing, -1)], dim=1)
    batch, length, dim = patches.shape
    return patches.view(batch, groups, length // groups, dim).transpose(1, 2).reshape(patches.shape)


def jigsaw_parts(
    patches: Tensor, num_parts: int, shift_num: int, shuffle_groups: int, rearrange: bool = True
) -> Tensor:
    """Split patch tokens into parts, after shift and shuffle.

    Args:
        patches: (B, N, D), without [cls].
        num_parts: k.
        shift_num: m of the released configs: 5 for persons, 8 for vehicles.
        shuffle_groups: g, 2 in every released config.
        rearrange: False splits the tokens in their own order (the paper's "JPM w/o rearrange").

    Returns:
        (B, k, N // k, D); the N mod k tokens that are left over are dropped.
    """
    length = patches.shape[1] // num_parts
    if rearrange:
        patches = shuffle_tokens(shift_tokens(patches, shift_num), shuffle_groups)
    return patches[:, : num_parts * length].unflatten(1, (num_parts, length))
