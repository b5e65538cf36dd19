"""A TransReID whose epochs on the tiny Market-1501 take a second."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
import transreid
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import HookBase
from small_trainer import Killed
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


def train_in(cfg: CfgNode, folder: Path, *hooks: HookBase, resume: bool = False) -> DefaultTrainer:
    """Train a config in a folder, until a hook kills it or to the end."""
    cfg.OUTPUT_DIR = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(cfg.SEED)
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume)
    trainer.register_hooks(list(hooks))
    with contextlib.suppress(Killed):
        trainer.train()
    return trainer
