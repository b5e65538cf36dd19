"""Memory and time of a DINO step: how much a batch needs, and what saves it.

python tools/benchmarks/dino_memory.py

Each row is a process of its own that makes steps of DINOTrainer on views of noise; memory is the
highest RSS (Linux) beyond that before the model was built, with student, teacher, AdamW's moments
and the batch. The CPU's: a GPU keeps the same tensors, but for what its libraries add. Ratios are
those of memory; the baseline is the greatest batch that goes through the model as a whole.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from dinopretrain.engine.step import DINOStep
from dinopretrain.solver.parameter_groups import parameter_groups
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from reid_core.config import load_config
from reid_core.run.command_line import show_user_errors

from .dino_step import CONFIGS, views_of_noise
from .harness import PEAK, WALL, Comparison, Sample, alternate, header, print_table, timed
from .processes import HIGHEST, in_child, memory

# batch, images of one forward pass (0: all), activation checkpointing
ROWS = [(4, 0, False), (8, 0, False), (16, 0, False), (16, 4, False), (16, 0, True), (16, 4, True)]
CHECKPOINTING = "MODEL.BACKBONE.GRADIENT_CHECKPOINTING"


def measure(
    name: str, batch: int, piece: int, checkpointing: bool, args: argparse.Namespace
) -> Sample:
    """Peak and time of the last of ``args.steps`` steps; in a fresh process."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    before = memory(HIGHEST)
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

    def whole_step() -> None:
        step.run_step()
        model.update_teacher(0.996)

    run = timed(whole_step)
    with EventStorage(0):
        last = [run() for _ in range(args.steps)][-1]
    return {**last, PEAK: memory(HIGHEST) - before, "images/s": batch / last[WALL]}


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--steps", type=int, default=2, help="of each row; the last is timed")
    parser.add_argument("--max-batch", type=int, choices=(4, 8, 16), default=16, help="(16)")
    parser.add_argument("--out-dim", type=int, default=65536, help="K")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    args = parser.parse_args(argv)
    header(args)
    rows = {
        f"batch {row[0]}, micro-batch {row[1] or 'all'}" + ", checkpointing" * row[2]: row
        for row in ROWS
        if row[0] <= args.max_batch
    }

    def compare(name: str) -> Comparison:
        contenders = {
            label: functools.partial(in_child, measure, name, *row, args)
            for label, row in rows.items()
        }
        return alternate(
            contenders, 1, baseline=f"batch {args.max_batch}, micro-batch all", key=PEAK
        )

    print_table({"model": name, **row} for name in args.models for row in compare(name).rows())
    return 0
