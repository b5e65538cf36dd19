"""How MoCo v3 initialises a backbone, and what of it stays as it is.

Source: Chen et al., ICCV 2021, sections 4.2 and 5: fixed sine-cosine positions, a random patch
projection that is not trained; zero-initialised residual branches of ResNets.
"""

from __future__ import annotations

import math

import torch
from fastreid.config import CfgNode
from reid_common.errors import UserError
from torch import nn
from transreid.modeling.backbone import TransReIDBackbone
from transreid.modeling.sincos import begin_with_sincos

SINCOS, SCRAMBLED, LEARNT = "sincos", "sincos_released", "learnt"
POSITIONS = (SINCOS, SCRAMBLED, LEARNT)


def prepare_vit(backbone: TransReIDBackbone, cfg: CfgNode) -> None:
    """Initialise a ViT, unless it has pretrained weights; fix positions, freeze patches."""
    if not cfg.MODEL.BACKBONE.PRETRAIN:
        initialise(backbone)
    if cfg.MOCO.POSITIONS != LEARNT:
        fix_positions(backbone, cfg.MOCO.POSITIONS == SCRAMBLED)
    if cfg.MOCO.FREEZE_PATCHES and backbone.patch_embed.conv is None:
        backbone.patch_embed.proj.requires_grad_(False)


def fix_positions(backbone: TransReIDBackbone, scrambled: bool) -> None:
    """Sine-cosine positions of the backbone's grid, 0 for [cls], without a gradient."""
    if backbone.pos_embed is None:
        raise UserError(
            "MoCo v3 has fixed positions, but this ViT rotates queries and keys instead (DINOv3); "
            "choose another MODEL.BACKBONE.TIMM_NAME"
        )
    begin_with_sincos(backbone, scrambled)
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
