#!/usr/bin/env python3
"""What the two repairs for CPUs bring: a DINO step with SOLVER.AMP, without and with them.

python tools/benchmarks/cpu_step.py

A step as DINOTrainer makes it, in autocast's bfloat16, on views of noise. The baseline has torch's
own attention and glibc's own handling of memory; then come attention in float32, and freed memory
that is kept as well (reid_core.run.cpu_speed). Each is a process of its own, since memory once
kept stays; they take turns. Times are the processor's, which other work disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from typing import Any

import torch
import torch.nn.functional as F
from dino_listing import peak, printed_json
from dino_step import Runner, our_step, views_of_noise
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from reid_core.config import load_config
from reid_core.run.cpu_speed import (
    MALLOC_SETTINGS,
    TUNABLES,
    keep_freed_memory,
    train_attention_in_float32,
)
from torch import Tensor

CONFIG = "projects/DINOPretrain/configs/ToyUnlabeled/vit_tiny.yml"
BASELINE, ATTENTION, BOTH = "baseline", "attention in float32", "and memory kept"
ARMS = (BASELINE, ATTENTION, BOTH)


def attention_of_torch() -> None:
    """Leave attention in the type that its input has under autocast, as torch does."""
    attention = F.scaled_dot_product_attention

    def outside_autocast(*args: Any, **options: Any) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return attention(*args, **options)

    F.scaled_dot_product_attention = outside_autocast


def run_arm(args: argparse.Namespace) -> dict[str, Any]:
    """Times of one process: seconds of each step, peak memory in MiB and page faults a step."""
    if args.arm == BASELINE:
        attention_of_torch()
    else:
        train_attention_in_float32()  # also on CPUs where the repair leaves it alone
    if args.arm == BOTH and not keep_freed_memory():
        raise SystemExit("memory cannot be kept: the C library has no mallopt")
    torch.manual_seed(0)
    cfg = load_config(args.config_file, ["MODEL.DEVICE", "cpu", *args.options])
    batch = views_of_noise(cfg, args.batch)
    model = build_model(cfg).train()
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)  # not the backward pass
    runner = Runner(model, our_step)
    seconds, faults = [], []
    with EventStorage(0):
        for _ in range(args.steps + 1):
            start, before = time.process_time(), _page_faults()
            runner.run(batch)
            seconds.append(time.process_time() - start)
            faults.append(_page_faults() - before)
    return {"seconds": seconds[1:], "peak": peak(), "faults": statistics.median(faults[1:])}


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def run_in_process(arm: str, args: list[str]) -> dict[str, Any]:
    """Run one arm in a process of its own."""
    command = [sys.executable, __file__, *args, "--arm", arm]
    environment = {k: v for k, v in os.environ.items() if k not in (*MALLOC_SETTINGS, TUNABLES)}
    return printed_json(command, environment)


def main() -> None:
    """Parse the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default=CONFIG)
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each process")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each arm")
    parser.add_argument("--arm", choices=ARMS, help="run this one alone and print JSON")
    parser.add_argument("--options", nargs="+", default=[], help="KEY VALUE pairs")
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(run_arm(args)))
        return
    results: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for _ in range(args.rounds):
        for arm in ARMS:
            results[arm].append(run_in_process(arm, sys.argv[1:]))
    print(f"torch {torch.__version__}, cpu, {torch.get_num_threads()} threads, bfloat16,", end=" ")
    print(f"{args.config_file} {' '.join(args.options)}, batch {args.batch}\n")
    print("| | processor seconds a step | ratio | round by round | page faults | peak MiB |")
    print("|---|---|---|---|---|---|")
    rounds = {arm: [statistics.median(r["seconds"]) for r in results[arm]] for arm in ARMS}
    for arm in ARMS:
        ratios = [base / own for base, own in zip(rounds[BASELINE], rounds[arm], strict=True)]
        print(
            f"| {arm} | {statistics.median(rounds[arm]):.2f} | {statistics.median(ratios):.2f} | "
            f"{min(ratios):.2f}-{max(ratios):.2f} | "
            f"{statistics.median(r['faults'] for r in results[arm]):,.0f} | "
            f"{max(r['peak'] for r in results[arm]):,.0f} |"
        )


if __name__ == "__main__":
    main()
