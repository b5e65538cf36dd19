"""Methods of pre-training against one another: the same images, passes, ViT and fine-tuning.

python tools/ssl_study.py
python tools/ssl_study.py --dataset Market1501 --pool ImageFolder:/data/crops \\
    --methods DINO MoCoV3 --seeds 1 2 3

For each seed and method: pre-trains a small ViT on --pool (the synthetic ToyUnlabeled), every image
as often with each method, and fine-tunes it on --dataset (the synthetic ToyReID); and trains the
same ViT from scratch. An interrupted call is resumed by the next. What a step of each method costs:
python tools/benchmarks/ssl_step.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .dino import DATASET, FINE_TUNING, POOL, SCRATCH_TITLE, pairs_of, placed
from .pretraining import pretrain, seconds_of
from .runner import Arm, Rows, Study, dataset_options, mean_and_spread

TOY = "projects/DINOPretrain/configs/ToyUnlabeled"
CONFIGS = {
    "DINO": f"{TOY}/vit_tiny.yml",
    "IBOT": f"{TOY}/ibot_vit_tiny.yml",
    "MoCoV2": f"{TOY}/moco_v2_vit_tiny.yml",
    "MoCoV3": f"{TOY}/moco_v3_vit_tiny.yml",
    "MoBY": f"{TOY}/moby_vit_tiny.yml",
}


def pretraining_folder(out: Path, method: str, pool: str, seed: int) -> Path:
    """OUTPUT_DIR of a pre-training."""
    return out / placed(f"pretrain_{method}", pool) / f"seed{seed}"


def add_arguments(lines: argparse.ArgumentParser) -> None:
    """Add what is pre-trained on, and how."""
    lines.add_argument("--pool", default=POOL, metavar="NAME", help=f"pre-train on it ({POOL})")
    names = f"({' '.join(CONFIGS)})"
    lines.add_argument("--methods", nargs="+", choices=CONFIGS, default=[*CONFIGS], help=names)


def arms(args: argparse.Namespace) -> Iterator[Arm]:
    """From scratch, and from each method."""
    options = dataset_options(args.dataset, args.dataset)
    yield Arm(SCRATCH_TITLE, FINE_TUNING, "scratch", options)
    for method in args.methods:
        yield arm(method, args, options)


def arm(method: str, args: argparse.Namespace, options: list[str]) -> Arm:
    """Fine-tuning from a method's backbone."""

    def prepare(out: Path, seed: int, opts: list[str]) -> list[str]:
        folder = pretraining_folder(out, method, args.pool, seed)
        return pretrain(CONFIGS[method], folder, pairs_of(args.pool, args.dataset, seed, opts))

    return Arm(method, FINE_TUNING, placed(method, args.pool), options, prepare=prepare)


def conclusion(scores: Rows, args: argparse.Namespace) -> str:
    """Gain of each method over training from scratch, best first, and minutes of pre-training."""
    scratch = [run["mAP"] for run in scores[SCRATCH_TITLE]]
    lines = []
    for method in args.methods:
        gains = np.subtract([run["mAP"] for run in scores[method]], scratch)
        folders = [pretraining_folder(args.out, method, args.pool, seed) for seed in args.seeds]
        seconds = [s for s in map(seconds_of, folders) if s is not None]
        took = f"; pre-training {np.mean(seconds) / 60:.1f} min" if seconds else ""
        sign = "+" if gains.mean() >= 0 else ""
        text = f"{method}: mAP {sign}{mean_and_spread(gains.tolist())} over training from scratch"
        lines.append((gains.mean(), text + took))
    lines.sort(reverse=True)
    toys = [name for name in (args.pool, args.dataset or DATASET) if name in (POOL, DATASET)]
    synthetic = [f"Synthetic: {' and '.join(toys)}."] if toys else []
    return "\n".join([*(text for _, text in lines), *synthetic])


STUDY = Study(__doc__, "ssl_study", arms, add_arguments, seeds=(1, 2), conclusion=conclusion)
main, parser = STUDY.main, STUDY.parser
