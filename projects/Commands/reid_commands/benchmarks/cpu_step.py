"""What the two repairs for CPUs bring: a DINO step with SOLVER.AMP, without and with them.

python tools/benchmarks/cpu_step.py

A step as DINOTrainer makes it, in autocast's bfloat16, on views of noise. The baseline has torch's
own attention and glibc's own handling of memory; then come attention in float32, and freed memory
that is kept as well (reid_core.run.cpu_speed). Each is a process of its own, since memory once
kept stays. Ratios are those of the processor's time.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from reid_core.run.cpu_speed import (
    MALLOC_SETTINGS,
    TUNABLES,
    keep_freed_memory,
    train_attention_in_float32,
)
from torch import Tensor

from .harness import CPU, PEAK, Row, Sample, alternate, benchmark, summary, timed
from .models import dino_on_noise, dino_step
from .processes import HIGHEST, in_children, memory

CONFIG = "projects/DINOPretrain/configs/Base-ToyUnlabeled.yml"
BASELINE, ATTENTION, BOTH = "baseline", "attention in float32", "and memory kept"


def attention_of_torch() -> None:
    """Leave attention in the type that its input has under autocast, as torch does."""
    attention = F.scaled_dot_product_attention

    def outside_autocast(*args: Any, **options: Any) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return attention(*args, **options)

    F.scaled_dot_product_attention = outside_autocast


def measure(arm: str, args: argparse.Namespace) -> Sample:
    """Times and peak memory of steps in this process, which is a fresh one."""
    if arm == BASELINE:
        attention_of_torch()
    else:
        train_attention_in_float32()  # also on CPUs where the repair leaves it alone
    if arm == BOTH and not keep_freed_memory():
        raise SystemExit("memory cannot be kept: the C library has no mallopt")
    cfg, model, batch = dino_on_noise(CONFIG, args.batch, args.options)
    run = timed(dino_step(cfg, model, batch, torch.bfloat16))
    samples = [run() for _ in range(args.steps + 1)]
    return {**summary(samples[1:]), PEAK: memory(HIGHEST)}


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """One row for each arm."""
    for name in (*MALLOC_SETTINGS, TUNABLES):  # of the processes to come
        os.environ.pop(name, None)
    cases = {arm: (arm, args) for arm in (BASELINE, ATTENTION, BOTH)}
    return alternate(in_children(measure, cases), args.rounds, key=CPU).rows()


main, parser = benchmark(__doc__, rows, batch=64, steps=4, rounds=3, options=[])
