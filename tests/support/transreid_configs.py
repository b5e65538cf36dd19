"""The configs of the TransReID project, and a batch for one."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from fastreid.config import CfgNode
from reid_core.config import load_config
from torch import Tensor

CONFIGS = Path(__file__).parents[2] / "projects" / "TransReID" / "configs"
LEAVES = sorted(p for p in CONFIGS.glob("**/*.yml") if not p.name.startswith("Base-"))
# Two images of two persons: the least that batch normalisation and the triplet loss can do with.
BATCH = 2


@functools.cache
def config_of(path: Path) -> CfgNode:
    """A config as it is written, read once; not to be changed."""
    return load_config(path)


def random_batch(cfg: CfgNode) -> dict[str, Tensor]:
    """Images of the config's size, pixels 0..255, from its last camera and viewpoint."""
    sie = cfg.MODEL.SIE
    return {
        "images": torch.rand(BATCH, 3, *cfg.INPUT.SIZE_TRAIN) * 255,
        "targets": torch.arange(BATCH),
        "camids": torch.full((BATCH,), max(sie.NUM_CAMERAS - 1, 0)),
        "viewids": torch.full((BATCH,), max(sie.NUM_VIEWS - 1, 0)),
    }
