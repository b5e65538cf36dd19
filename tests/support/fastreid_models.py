"""FastReID's own meta-architectures, and images for them."""

from __future__ import annotations

import torch
from fastreid.config import CfgNode
from torch import Tensor


def pixels(count: int = 4) -> Tensor:
    """Images of noise, integers 0..255."""
    size = (count, 3, 96, 32)  # MGN splits the height, 96 / 16 rows of features, into 2 and 3 parts
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(1))


def mgn(cfg: CfgNode) -> CfgNode:
    """Make a config's model MGN, in place."""
    cfg.MODEL.META_ARCHITECTURE = "MGN"
    cfg.MODEL.BACKBONE.DEPTH = "50x"
    cfg.MODEL.BACKBONE.FEAT_DIM = 2048
    cfg.MODEL.HEADS.EMBEDDING_DIM = 16
    return cfg


def moco(cfg: CfgNode) -> CfgNode:
    """Make a config's model MoCo, in place."""
    cfg.MODEL.META_ARCHITECTURE = "MoCo"
    cfg.MODEL.QUEUE_SIZE = 16
    return cfg


def distiller(cfg: CfgNode) -> CfgNode:
    """Make a config's model Distiller with a teacher of its own, in place."""
    cfg.MODEL.META_ARCHITECTURE = "Distiller"
    cfg.KD.EMA.ENABLED = True
    return cfg
