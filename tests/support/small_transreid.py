"""A TransReID whose epochs on the tiny Market-1501 take a second."""

from __future__ import annotations

import transreid
from fastreid.config import CfgNode
from small_vit import use_small_vit


def make_small_transreid(cfg: CfgNode) -> CfgNode:
    """Turn the tiny config of tests/conftest.py, in place, into two blocks with JPM and SIE."""
    transreid.add_transreid_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "TransReID"
    use_small_vit(cfg, stride=12)
    cfg.MODEL.HEADS.NAME = "JPMHead"
    cfg.MODEL.SIE.CAMERA = True
    cfg.MODEL.LOSSES.TRI.MARGIN = 0.0
    cfg.MODEL.LOSSES.TRI.HARD_MINING = True
    cfg.SOLVER.BASE_LR = 5e-4
    cfg.SEED = 1
    return cfg
