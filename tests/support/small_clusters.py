"""A run of cluster contrast that takes a second: coloured noise, a ViT of two blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clustercontrast  # noqa: F401  (registers itself)
from fastreid.config import CfgNode
from reid_core.config import load_config
from small_vit import use_small_vit
from synthetic import write_market

CONFIG = "projects/ClusterContrast/configs/Base-ClusterContrast.yml"
NUM_IDENTITIES = 8


def write_persons(root: Path) -> Path:
    """Eight persons under three cameras, 48 images, for training; three others for tests."""
    return write_market(root, NUM_IDENTITIES, 3, 3, 2)


def small_cluster_cfg(folder: Path, options: tuple[Any, ...] = ()) -> CfgNode:
    """Config on the data root that FASTREID_DATASETS names: 2 epochs of 3 iterations."""
    cfg = load_config(CONFIG)
    use_small_vit(cfg, stride=16)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.HEADS.NAME = "ClusterHead"
    cfg.MODEL.HEADS.NECK_FEAT = cfg.MODEL.HEADS.TEST_NECK_FEAT = "after"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.1
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [64, 32]
    cfg.INPUT.PADDING.SIZE = 2
    cfg.CLUSTER.K1, cfg.CLUSTER.K2 = 6, 2
    # None takes a number or a text
    cfg.CLUSTER.EPS = None if "CLUSTER.EPS" in options else 0.7
    cfg.CLUSTER.BN_GROUP, cfg.CLUSTER.ITERATIONS = 4, 3
    cfg.DATALOADER.NUM_INSTANCE, cfg.DATALOADER.NUM_WORKERS = 2, 0
    cfg.DATASETS.NAMES, cfg.DATASETS.TESTS = ("Market1501",), ("Market1501",)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.CHECKPOINT_PERIOD = 8, 2, 1
    cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR = [2], 0.01
    cfg.TEST.EVAL_PERIOD, cfg.TEST.IMS_PER_BATCH = 2, 8
    cfg.OUTPUT_DIR = str(folder)
    cfg.merge_from_list([str(option) for option in options])
    return cfg


def start(cfg: CfgNode, resume: bool = False) -> Any:
    """A trainer that is ready to train."""
    from clustercontrast import ClusterContrastTrainer
    from fastreid.engine import default_setup
    from transreid.training import arguments

    default_setup(cfg, arguments("", [], resume=resume))
    trainer = ClusterContrastTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer


def train_together(processes: int, folder: str) -> None:
    """Train in each of ``processes`` processes, whatever their number in the same way.

    A process of two has the part of a batch that is a group of BatchNorm in one; there is no drop
    path, whose draws are a process's own.
    """
    group = 4 if processes == 1 else 0
    cfg = small_cluster_cfg(Path(folder), ("MODEL.BACKBONE.DROP_PATH_RATIO", 0.0))
    cfg.CLUSTER.BN_GROUP = group
    cfg.TEST.EVAL_PERIOD, cfg.CLUSTER.REPORT_PERIOD = 0, 0
    start(cfg).train()
