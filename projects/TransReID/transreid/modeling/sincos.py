"""Position embeddings made of sines and cosines of row and column.

Source: Chen et al., "MoCo v3", ICCV 2021, section 5, which has them fixed. As the first values of
trained ones they tell patches apart from the first step, where random ones of timm (standard
deviation 0.02) need some thousand steps to do so.

Letters: D embedding dimension; u, v coordinates of a patch in its grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from reid_common.errors import UserError
from torch import Tensor

if TYPE_CHECKING:
    from .backbone import TransReIDBackbone

RANDOM, SINCOS = "random", "sincos"
POSITIONS = (RANDOM, SINCOS)


def sincos_positions(grid: tuple[int, int], embed_dim: int, scrambled: bool = False) -> Tensor:
    """Position embeddings (1, rows * columns, D): sin(u f), cos(u f), sin(v f), cos(v f).

    f_i = 10000 ** (-i / (D / 4)). The released code gives token j the coordinates j div rows and
    j mod rows, which on a grid that is not square are not its row and column.

    Args:
        grid: (rows, columns).
        embed_dim: D, a multiple of 4.
        scrambled: the released order, for parity; else u is the row and v the column.
    """
    rows, columns = grid
    token = torch.arange(rows * columns, dtype=torch.float64)
    per_line = rows if scrambled else columns
    u, v = token // per_line, token % per_line
    quarter = embed_dim // 4
    frequencies = 10000 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = [torch.outer(place, frequencies) for place in (u, v)]
    waves = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    return torch.cat(waves, dim=1)[None].float()


@torch.no_grad()
def begin_with_sincos(backbone: TransReIDBackbone, scrambled: bool = False) -> None:
    """Set a backbone's position embeddings to those of its grid; [cls] gets 0.

    Raises:
        UserError: the ViT has no position embeddings (DINOv3), or D is no multiple of 4.
    """
    if backbone.pos_embed is None:
        raise UserError(
            "MODEL.BACKBONE.POSITIONS sincos: this ViT has no position embeddings, it rotates "
            "queries and keys (DINOv3); leave it at random"
        )
    if backbone.embed_dim % 4:
        raise UserError(
            f"MODEL.BACKBONE.POSITIONS sincos: {backbone.embed_dim} dimensions are no multiple of 4"
        )
    positions = sincos_positions(backbone.patch_embed.grid_size, backbone.embed_dim, scrambled)
    backbone.pos_embed.zero_()
    backbone.pos_embed[:, -positions.shape[1] :] = positions
