"""From a config to a Swin backbone with its pretrained weights."""

from __future__ import annotations

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from reid_common.errors import UserError

SWINS = {  # embed_dim, depths, heads
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


def check_swin_dim(cfg: CfgNode) -> None:
    """Raise UserError where MODEL.BACKBONE.FEAT_DIM is not that of the Swin."""
    options = cfg.MODEL.BACKBONE
    dim = 8 * SWINS[options.SWIN][0]
    if dim != options.FEAT_DIM:
        raise UserError(
            f"MODEL.BACKBONE.FEAT_DIM is {options.FEAT_DIM}, but Swin {options.SWIN} has {dim} "
            f"dimensions; set FEAT_DIM: {dim}"
        )


@BACKBONE_REGISTRY.register()
def build_swin_backbone(cfg: CfgNode):
    """Build Swin, with SOLIDER's weights if MODEL.BACKBONE.PRETRAIN_PATH names them.

    Raises:
        UserError: FEAT_DIM that is not the Swin's, PRETRAIN without a file, or one of another
            network.
    """
    from .modeling.swin import SwinBackbone  # late: timm takes seconds
    from .weights.solider import load_swin

    options = cfg.MODEL.BACKBONE
    check_swin_dim(cfg)
    embed_dim, depths, heads = SWINS[options.SWIN]
    if options.NUM_BLOCKS:
        depths = tuple(min(depth, options.NUM_BLOCKS) for depth in depths)
    backbone = SwinBackbone(
        embed_dim, depths, heads, options.SEMANTIC_WEIGHT, options.DROP_PATH_RATIO
    )
    if options.PRETRAIN and not options.PRETRAIN_PATH:
        raise UserError(
            "MODEL.BACKBONE.PRETRAIN is True, but nobody's weights fit this Swin by name; set "
            "MODEL.BACKBONE.PRETRAIN_PATH to a file of SOLIDER, or PRETRAIN False"
        )
    if options.PRETRAIN:
        load_swin(backbone, options.PRETRAIN_PATH)
    return backbone
