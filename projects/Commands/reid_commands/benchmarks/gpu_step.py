"""Training steps and inference on a GPU: images/s, memory, share of the peak, waits, operators.

python tools/benchmarks/gpu_step.py

Supervised steps (with JPM and SIE, and the baseline) and a DINO step as the trainers make them,
eager, with MODEL.COMPILE and (on a GPU) as CUDA graphs, and features; beside each the
straightforward implementation (those of train_step.py and dino_step.py). The peak is that of a
large matrix product in the same type. Waits: how often a step makes the host wait for the device.
Without a GPU the same runs on the CPU:

python tools/benchmarks/gpu_step.py --models ViT-S/16 --batch 4 --steps 1 --eager-only --size 64 32
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Iterator

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from fastreid.utils.events import EventStorage
from fastreid_compat.repairs.training.mixed_precision import amp_dtype
from torch.utils.flop_counter import FlopCounterMode

from .gpu_works import COMPILED, Work, device, finish, works
from .harness import Row, benchmark
from .models import MODEL, SIZE, VITS
from .operators import counted

WARM_UP = 3
PEAK_SIZE = {"cuda": 8192, "cpu": 1024}  # rows of the matrices whose product is the peak


def peak_flops() -> float:
    """Operations a second of a matrix product in the type of mixed precision."""
    size, kind = PEAK_SIZE[device().type], amp_dtype("auto", device().type) or torch.float32
    a, b = (torch.randn(size, size, device=device(), dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(2 * WARM_UP):
        start = time.perf_counter()
        a @ b
        finish()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[WARM_UP:])


def measured(work: Work, steps: int, peak: float) -> Row:
    """Build, warm up, time and count one piece of work."""
    gc.collect()
    cuda = torch.cuda.is_available()
    with EventStorage(0) as storage:
        run = work.build()
        for _ in range(WARM_UP):
            run()
        storage.latest()
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        finish()
        start = time.perf_counter()
        for _ in range(steps):
            run()
        finish()
        seconds = (time.perf_counter() - start) / steps
        memory = torch.cuda.max_memory_allocated() / 2**20 if cuda else 0.0
        shown: dict[str, str | float] = {"waits": "-", "operators": "-", "share of peak": "-"}
        if work.variant not in COMPILED:
            with counted() as operators:
                run()
            with FlopCounterMode(display=False) as flops:
                run()
            shown = {
                "waits": sum(operators.waits.values()),
                "operators": sum(operators.all.values()),
                "share of peak": flops.get_total_flops() / seconds / peak,
            }
    row: dict[str, str | float] = {
        "work": work.group,
        "variant": work.variant,
        "images/s": work.images / seconds,
    }
    return {**row, "MiB": memory or "-", **shown}


def measure(name: str, args: argparse.Namespace) -> Iterator[Row]:
    """All rows of one model."""
    peak = peak_flops()
    first: dict[str, float] = {}
    for work in works(name, args):
        row = measured(work, args.steps, peak)
        speed = float(row["images/s"])
        yield {**row, "ratio": speed / first.setdefault(work.group, speed)}


main, parser = benchmark(
    __doc__,
    measure,
    "timm",
    each=MODEL,
    models=VITS,
    stride=12,
    batch=64,
    dino_batch=32,
    test_batch=256,
    out_dim=65536,
    steps=15,
    size=SIZE,
    eager_only=False,
)
