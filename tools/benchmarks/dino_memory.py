#!/usr/bin/env python3
"""Memory and time of a DINO step: how much a batch needs, and what saves it.

python tools/benchmarks/dino_memory.py

Each row is a process of its own that makes steps of DINOTrainer on views of noise; memory is the
highest RSS (Linux) beyond that before the model was built, with student, teacher, AdamW's moments
and the batch. The CPU's: a GPU keeps the same tensors, but for what its libraries add.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from types import SimpleNamespace

import torch
from dino_listing import peak
from dino_step import CONFIGS, views_of_noise
from dinopretrain.engine.step import DINOStep
from dinopretrain.solver.parameter_groups import parameter_groups
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from reid_core.config import load_config

# batch, images of one forward pass (0: all), activation checkpointing
ROWS = [(4, 0, False), (8, 0, False), (16, 0, False), (16, 4, False), (16, 0, True), (16, 4, True)]
CHECKPOINTING = "MODEL.BACKBONE.GRADIENT_CHECKPOINTING"


def measure(name: str, batch: int, piece: int, checkpointing: bool, args: SimpleNamespace) -> dict:
    """Peak in MiB and seconds of the last of ``args.steps`` steps; in a fresh process."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    before = peak()
    options = ["MODEL.DEVICE", "cpu", "DINO.OUT_DIM", args.out_dim, CHECKPOINTING, checkpointing]
    cfg = load_config(CONFIGS[name], options)
    model = build_model(cfg).train()
    data = views_of_noise(cfg, batch) | {"index": range(batch), "bad": []}
    parts = SimpleNamespace(
        model=model,
        optimizer=torch.optim.AdamW(parameter_groups(model.student, 0.04), lr=1e-5),
        data_loader=None,
        _data_loader_iter=itertools.repeat(data),
    )
    dtype = torch.bfloat16 if args.bf16 else None
    step = DINOStep(parts, dtype=dtype, clip=cfg.DINO.CLIP_GRADIENT, micro_batch=piece)
    seconds = 0.0
    with EventStorage(0):
        for _ in range(args.steps):
            start = time.perf_counter()
            step.run_step()
            model.update_teacher(0.996)
            seconds = time.perf_counter() - start
    return {"peak": peak() - before, "seconds": seconds}


def main() -> None:
    """Parse the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--steps", type=int, default=2, help="of each row; the last is timed")
    parser.add_argument("--out-dim", type=int, default=65536, help="K")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    args = parser.parse_args()
    kept = SimpleNamespace(**vars(args))
    print(f"torch {torch.__version__}, cpu, {args.threads} threads,", end=" ")
    print(f"{'bfloat16' if args.bf16 else 'float32'}, 2 x 256x128 + 8 x 128x64, K {args.out_dim}\n")
    print("| model | batch | DINO.MICRO_BATCH | checkpointing | peak, MiB | images/s |")
    print("|---|---|---|---|---|---|")
    for name in args.models:
        for batch, piece, checkpointing in ROWS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(measure, (name, batch, piece, checkpointing, kept))
            print(
                f"| {name} | {batch} | {piece or 'all'} | {'yes' if checkpointing else 'no'} "
                f"| {found['peak']:.0f} | {batch / found['seconds']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
