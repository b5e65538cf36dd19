"""Studies in miniature: drawn data sets and options that make a training take seconds."""

from __future__ import annotations

from pathlib import Path

from toyreid.people import ToySpec, render_toyreid
from toyreid.pool.plan import PoolSpec
from toyreid.pool.render import render_pool

OPTIONS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NUM_BLOCKS": 1,
    "DINO.OUT_DIM": 32,
    "DINO.HIDDEN_DIM": 32,
    "DINO.STOP_ON_COLLAPSE": False,
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.WARMUP_ITERS": 0,
}


def draw_data(folder: Path, num_images: int) -> None:
    """ToyReID with few persons, and a pool of ``num_images``."""
    render_toyreid(folder, ToySpec(num_train_ids=8, num_test_ids=6, num_distractors=2))
    render_pool(folder, PoolSpec(num_images=num_images))


def command_line(out: Path, options: dict[str, object], *more: str) -> list[str]:
    """Words of a study of one seed with :data:`OPTIONS` and others."""
    pairs = (OPTIONS | options).items()
    return ["--seeds", "1", *more, *(str(w) for pair in pairs for w in pair), "--out", str(out)]
