"""The two-block ViT of the tests."""

from __future__ import annotations

from fastreid.config import CfgNode


def use_small_vit(cfg: CfgNode, stride: int) -> None:
    """Make two blocks of vit_tiny the backbone, in place.

    Args:
        cfg: with the keys of TransReID.
        stride: of the patches, in pixels.
    """
    backbone = cfg.MODEL.BACKBONE
    backbone.NAME = "build_transreid_backbone"
    backbone.TIMM_NAME = "vit_tiny_patch16_224"
    backbone.NUM_BLOCKS = 2
    backbone.FEAT_DIM = 192
    backbone.STRIDE_SIZE = [stride, stride]
