"""TransReID's keys and small sizes on top of the tiny config."""

from __future__ import annotations

import pytest
import transreid


@pytest.fixture
def transreid_cfg(tiny_cfg):
    """A two-block vit_tiny with JPM and camera SIE at 64x32, on the tiny Market-1501."""
    cfg = tiny_cfg
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
