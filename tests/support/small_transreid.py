"""A TransReID whose epochs on the tiny Market-1501 take a second."""

from __future__ import annotations

import transreid
from fastreid.config import CfgNode


def make_small_transreid(cfg: CfgNode) -> CfgNode:
    """Turn the tiny config of tests/conftest.py, in place, into two blocks with JPM and SIE."""
    transreid.add_transreid_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "TransReID"
    cfg.MODEL.BACKBONE.NAME = "build_transreid_backbone"
    cfg.MODEL.BACKBONE.TIMM_NAME = "vit_tiny_patch16_224"
    cfg.MODEL.BACKBONE.NUM_BLOCKS = 2
    cfg.MODEL.BACKBONE.FEAT_DIM = 192
    cfg.MODEL.BACKBONE.STRIDE_SIZE = [12, 12]
    cfg.MODEL.HEADS.NAME = "JPMHead"
    cfg.MODEL.SIE.CAMERA = True
    cfg.MODEL.LOSSES.TRI.MARGIN = 0.0
    cfg.MODEL.LOSSES.TRI.HARD_MINING = True
    cfg.SOLVER.BASE_LR = 5e-4
    cfg.SEED = 1
    return cfg
