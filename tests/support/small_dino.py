"""A DINO run whose epochs take a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from dinopretrain import DINOTrainer
from fastreid.config import CfgNode
from PIL import Image
from reid_core.config import load_config
from small_vit import use_small_vit

NUM_IMAGES, BATCH = 24, 4
ITERS_PER_EPOCH = NUM_IMAGES // BATCH


def write_noise(folder: Path, count: int = NUM_IMAGES) -> None:
    """Write images of 40x20 pixels (H, W): a colour each, with noise."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 200, (1, 1, 3)) + rng.integers(0, 55, (40, 20, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")


def small_dino_cfg(pool: Path, output: Path) -> CfgNode:
    """Config of the run: 3 epochs of 6 iterations."""
    cfg = load_config()
    cfg.MODEL.META_ARCHITECTURE = "DINO"
    cfg.MODEL.DEVICE = "cpu"
    use_small_vit(cfg, stride=8)
    cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.1
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [32, 16]
    cfg.DINO.LOCAL_SIZE = [16, 16]
    cfg.DINO.LOCAL_VIEWS = 2
    cfg.DINO.OUT_DIM = 32
    cfg.DINO.HIDDEN_DIM = 32
    cfg.DINO.BOTTLENECK_DIM = 16
    cfg.DATASETS.NAMES = (f"ImageFolder:{pool}",)
    cfg.DATASETS.TESTS = ()
    cfg.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = BATCH
    cfg.SOLVER.MAX_EPOCH = 3
    cfg.SOLVER.WARMUP_EPOCHS = 1
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.BASE_LR = 0.05
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    cfg.TEST.EVAL_PERIOD = 0
    cfg.SEED = 3
    cfg.OUTPUT_DIR = str(output)
    return cfg


def start(cfg: CfgNode, resume: bool = True) -> DINOTrainer:
    """A trainer, from the last checkpoint if there is one."""
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(cfg.SEED)
    trainer = DINOTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer


def metrics(cfg: CfgNode) -> list[dict]:
    """Rows of metrics.json."""
    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """To the tolerances of torch.testing."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=name)
