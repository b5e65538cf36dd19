"""Memory and time of a DINO step: how much a batch needs, and what saves it.

python tools/benchmarks/dino_memory.py

Each row is a process of its own that makes steps of DINOTrainer on views of noise; memory is the
highest RSS (Linux) beyond that before the model was built, student, teacher, AdamW's moments and
batch. The baseline is the greatest batch that goes through the model as a whole.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .harness import PEAK, Row, Sample, alternate, benchmark, timed
from .models import DINO_CONFIGS, MODEL, dino_on_noise, dino_step
from .processes import HIGHEST, in_children, memory

# batch, images of one forward pass (0: all), activation checkpointing
ROWS = [(4, 0, False), (8, 0, False), (16, 0, False), (16, 4, False), (16, 0, True), (16, 4, True)]
CHECKPOINTING = "MODEL.BACKBONE.GRADIENT_CHECKPOINTING"


def second_step(
    name: str, batch: int, piece: int, checkpointing: bool, args: argparse.Namespace
) -> Sample:
    """Peak of two steps and time of the second; in a fresh process."""
    before = memory(HIGHEST)
    options = ["DINO.OUT_DIM", args.out_dim, CHECKPOINTING, checkpointing]
    cfg, model, views = dino_on_noise(DINO_CONFIGS[name], batch, options)
    run = timed(dino_step(cfg, model, views, micro_batch=piece))
    _, last = run(), run()
    return {**last, PEAK: memory(HIGHEST) - before}


def measure(name: str, args: argparse.Namespace) -> Iterator[Row]:
    """All rows of a model."""
    label = "batch {}, micro-batch {}"
    cases = {
        label.format(row[0], row[1] or "all") + ", checkpointing" * row[2]: (name, *row, args)
        for row in ROWS
        if row[0] <= args.max_batch
    }
    baseline = label.format(args.max_batch, "all")
    return alternate(in_children(second_step, cases), baseline=baseline, key=PEAK).rows()


main, parser = benchmark(
    __doc__, measure, each=MODEL, models=DINO_CONFIGS, max_batch=16, out_dim=65536
)
