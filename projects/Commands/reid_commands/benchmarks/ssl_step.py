"""What a step of each method of pre-training costs: images a second, and memory.

python tools/benchmarks/ssl_step.py

Each method in a process of its own makes steps of its trainer on views of noise, with ViT-S/16 (or
--backbone r50) and the settings of its config for LUPerson, but for --batch and, with --options,
any key. Memory is the highest RSS (Linux) beyond that before the model was built: encoders,
optimizer, queue and batch. An image counts once, however many views a method makes of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .harness import PEAK, WALL, Row, Sample, alternate, benchmark, summary, timed
from .models import method_on_noise, method_step
from .processes import HIGHEST, in_children, memory

CONFIGS = "projects/DINOPretrain/configs/LUPerson"
METHODS = {"DINO": "", "IBOT": "ibot_", "MoCoV2": "moco_v2_", "MoCoV3": "moco_v3_", "MoBY": "moby_"}
BACKBONES = {"vit_small": "ViT-S/16", "r50": "ResNet-50"}


def config_of(method: str, backbone: str) -> str:
    """Config file of a method for LUPerson."""
    return f"{CONFIGS}/{METHODS[method]}{backbone}.yml"


def measure(method: str, args: argparse.Namespace) -> Sample:
    """Median time of steps after the first, and peak memory; in a fresh process."""
    before = memory(HIGHEST)
    cfg, model, batch = method_on_noise(
        config_of(method, args.backbone), args.batch, ["SOLVER.AMP.ENABLED", False, *args.options]
    )
    run = timed(method_step(cfg, model, batch))
    samples = [run() for _ in range(args.steps + 1)]
    return {**summary(samples[1:]), PEAK: memory(HIGHEST) - before}


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """One row for each method that the backbone can be trained with."""
    cases = {
        method: (method, args)
        for method in args.methods
        if not (method == "IBOT" and args.backbone == "r50")  # it has no patches
    }
    yield from alternate(in_children(measure, cases), args.rounds, key=WALL).rows(images=args.batch)


main, parser = benchmark(
    __doc__,
    rows,
    "timm",
    methods=METHODS,
    backbone="vit_small",
    batch=8,
    steps=3,
    rounds=1,
    options=[],
)
