"""How MoCo v3 initialises a backbone, and what of it stays as it is.

Source: Chen et al., ICCV 2021, sections 4.2 and 5: fixed sine-cosine positions, a random patch
projection that is not trained; zero-initialised residual branches of ResNets.

Letters: D embedding dimension; u, v coordinates of a patch in its grid.
"""

from __future__ import annotations

import math

import torch
from fastreid.config import CfgNode
from reid_common.errors import UserError
from torch import Tensor, nn
from transreid.modeling.backbone import TransReIDBackbone

SINCOS, SCRAMBLED, LEARNT = "sincos", "sincos_released", "learnt"
POSITIONS = (SINCOS, SCRAMBLED, LEARNT)


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


def prepare_vit(backbone: TransReIDBackbone, cfg: CfgNode) -> None:
    """Initialise a ViT, unless it has pretrained weights; fix positions, freeze patches."""
    if not cfg.MODEL.BACKBONE.PRETRAIN:
        initialise(backbone)
    if cfg.MOCO.POSITIONS != LEARNT:
        fix_positions(backbone, cfg.MOCO.POSITIONS == SCRAMBLED)
    if cfg.MOCO.FREEZE_PATCHES and backbone.patch_embed.conv is None:
        backbone.patch_embed.proj.requires_grad_(False)


@torch.no_grad()
def fix_positions(backbone: TransReIDBackbone, scrambled: bool) -> None:
    """Sine-cosine positions of the backbone's grid, 0 for [cls], without a gradient."""
    positions = sincos_positions(backbone.patch_embed.grid_size, backbone.embed_dim, scrambled)
    if backbone.pos_embed is None:
        raise UserError(
            "MoCo v3 has fixed positions, but this ViT rotates queries and keys instead (DINOv3); "
            "choose another MODEL.BACKBONE.TIMM_NAME"
        )
    backbone.pos_embed.zero_()
    backbone.pos_embed[:, -positions.shape[1] :] = positions
    backbone.pos_embed.requires_grad_(False)


@torch.no_grad()
def initialise(backbone: TransReIDBackbone) -> None:
    """Xavier for linear layers, q, k and v each for itself; patches uniform; [cls] almost 0."""
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Linear):
            if name.endswith("qkv"):
                for part in module.weight.chunk(3):
                    nn.init.xavier_uniform_(part)
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    projection = backbone.patch_embed.proj
    inputs = projection.weight[0].numel()
    bound = math.sqrt(6 / (inputs + backbone.embed_dim))
    nn.init.uniform_(projection.weight, -bound, bound)
    if projection.bias is not None:
        nn.init.zeros_(projection.bias)
    if backbone.cls_token is not None:
        nn.init.normal_(backbone.cls_token, std=1e-6)


def prepare_cnn(backbone: nn.Module) -> None:
    """Start the last BatchNorm of each residual branch at 0."""
    for module in backbone.modules():
        last = getattr(module, "bn3", None) or getattr(module, "bn2", None)
        if last is not None and getattr(last, "weight", None) is not None:
            nn.init.zeros_(last.weight)
