"""The tiny run of small_dino.py, with any method."""

from __future__ import annotations

from pathlib import Path

from dinopretrain.methods import CONTRASTIVE
from fastreid.config import CfgNode
from small_dino import small_dino_cfg

OPTIMIZERS = {"MoCoV2": "SGD", "MoCoV3": "AdamW", "MoBY": "AdamW"}


def small_method_cfg(method: str, pool: Path, output: Path) -> CfgNode:
    """Config of a run of 2 epochs of 6 iterations."""
    cfg = small_dino_cfg(pool, output)
    cfg.MODEL.META_ARCHITECTURE = method
    cfg.SOLVER.MAX_EPOCH = 2
    if method in CONTRASTIVE:
        cfg.DINO.LOCAL_VIEWS = 0
        cfg.MOCO.OUT_DIM, cfg.MOCO.HIDDEN_DIM, cfg.MOCO.QUEUE_SIZE = 16, 32, 10
        cfg.SOLVER.OPT = OPTIMIZERS[method]
        cfg.SOLVER.WARMUP_EPOCHS = 0 if method == "MoCoV2" else 1
    return cfg


def use_small_resnet(cfg: CfgNode) -> None:
    """Make FastReID's ResNet-18 the backbone, in place."""
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = "build_resnet_backbone", "18x"
    cfg.MODEL.BACKBONE.FEAT_DIM = 512
