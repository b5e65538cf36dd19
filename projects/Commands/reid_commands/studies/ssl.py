"""Methods of pre-training against one another: the same images, passes, ViT and fine-tuning.

python tools/ssl_study.py
python tools/ssl_study.py --dataset Market1501 --pool ImageFolder:/data/crops \\
    --methods DINO MoCoV3 --seeds 1 2 3 PRETRAIN.SOLVER.MAX_EPOCH 10

For each seed and method: pre-trains a small ViT on --pool (the synthetic ToyUnlabeled), every image
as often with each method, and fine-tunes it on --dataset (the synthetic ToyReID); and trains the
same ViT from scratch. PRETRAIN.KEY VALUE pairs change the pre-trainings alone. An interrupted call
is resumed by the next; trainings that tools/dino_study.py has made in the same --out are used.
What a step of each method costs: python tools/benchmarks/ssl_step.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from . import pretraining
from .pretraining import METHODS, SCRATCH
from .runner import Arm, Rows, Study, mean_and_spread


def add_arguments(lines: argparse.ArgumentParser) -> None:
    """Add what is pre-trained on and how, and how many identities are fine-tuned on."""
    pretraining.add_arguments(lines)
    names = f"({' '.join(METHODS)})"
    lines.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS], help=names)


def arms(args: argparse.Namespace) -> Iterator[Arm]:
    """From scratch and from each method, for each number of identities."""
    return pretraining.arms(args, {method: method for method in args.methods})


def conclusion(scores: Rows, args: argparse.Namespace) -> str:
    """Gain of each method over training from scratch, best first, and minutes of pre-training."""
    lines = []
    for row, runs in scores.items():
        method, comma, count = row.partition(", ")
        if method == SCRATCH:
            continue
        scratch = [run["mAP"] for run in scores[SCRATCH + comma + count]]
        gains = np.subtract([run["mAP"] for run in runs], scratch)
        sign = "+" if gains.mean() >= 0 else ""
        times = pretraining.times(args, method)
        took = f"; pre-training {times} min" if times else ""
        text = f"{row}: mAP {sign}{mean_and_spread(gains.tolist())} over training from scratch"
        lines.append((gains.mean(), text + took))
    lines.sort(reverse=True)
    toys = pretraining.synthetic(args)
    synthetic = [f"Synthetic: {' and '.join(toys)}."] if toys else []
    return "\n".join([*(text for _, text in lines), *synthetic])


STUDY = Study(
    __doc__,
    "ssl_study",
    arms,
    add_arguments,
    seeds=(1, 2),
    conclusion=conclusion,
    own=pretraining.OWN,
)
main, parser = STUDY.main, STUDY.parser
