"""What the two repairs for CPUs bring: a DINO step with SOLVER.AMP, without and with them.

python tools/benchmarks/cpu_step.py

A step as DINOTrainer makes it, in autocast's bfloat16, on views of noise. The baseline has torch's
own attention and glibc's own handling of memory; then come attention in float32, and freed memory
that is kept as well (reid_core.run.cpu_speed). Each is a process of its own, since memory once
kept stays; they take turns. Ratios are those of the processor's time, which other work disturbs
less.
"""

from __future__ import annotations

import argparse
import functools
import os
import resource
from collections.abc import Sequence
from typing import Any

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from reid_core.config import load_config
from reid_core.run.command_line import show_user_errors
from reid_core.run.cpu_speed import (
    MALLOC_SETTINGS,
    TUNABLES,
    keep_freed_memory,
    train_attention_in_float32,
)
from torch import Tensor

from .dino_step import our_step, training_step, views_of_noise
from .harness import CPU, PEAK, Sample, alternate, header, print_table, summary, timed
from .processes import HIGHEST, in_child, memory

CONFIG = "projects/DINOPretrain/configs/ToyUnlabeled/vit_tiny.yml"
BASELINE, ATTENTION, BOTH = "baseline", "attention in float32", "and memory kept"


def attention_of_torch() -> None:
    """Leave attention in the type that its input has under autocast, as torch does."""
    attention = F.scaled_dot_product_attention

    def outside_autocast(*args: Any, **options: Any) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return attention(*args, **options)

    F.scaled_dot_product_attention = outside_autocast


def measure(arm: str, args: argparse.Namespace) -> Sample:
    """Times, page faults and peak memory of steps in this process, which is a fresh one."""
    if arm == BASELINE:
        attention_of_torch()
    else:
        train_attention_in_float32()  # also on CPUs where the repair leaves it alone
    if arm == BOTH and not keep_freed_memory():
        raise SystemExit("memory cannot be kept: the C library has no mallopt")
    torch.manual_seed(0)
    cfg = load_config(args.config_file, ["MODEL.DEVICE", "cpu", *args.options])
    model = build_model(cfg).train()
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)  # not the backward pass
    run = timed(training_step(model, our_step, views_of_noise(cfg, args.batch)))
    samples = []
    with EventStorage(0):
        for _ in range(args.steps + 1):
            before = _page_faults()
            samples.append({**run(), "page faults": _page_faults() - before})
    return {**summary(samples[1:]), PEAK: memory(HIGHEST)}


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default=CONFIG)
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each process")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each contender")
    parser.add_argument("--options", nargs="+", default=[], help="KEY VALUE pairs")
    args = parser.parse_args(argv)
    for name in (*MALLOC_SETTINGS, TUNABLES):  # of the processes to come
        os.environ.pop(name, None)
    header(args)
    contenders = {
        arm: functools.partial(in_child, measure, arm, args) for arm in (BASELINE, ATTENTION, BOTH)
    }
    print_table(alternate(contenders, args.rounds, key=CPU).rows())
    return 0
