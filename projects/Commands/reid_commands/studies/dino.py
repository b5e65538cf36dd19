"""DINO against training from scratch: the same fine-tuning, other first weights.

python tools/dino_study.py --seeds 1 2 3
python tools/dino_study.py --dataset Market1501 --pool ImageFolder:/data/crops \\
    --identities 50 100 200

For each seed: pre-trains a small ViT on --pool (the synthetic ToyUnlabeled), fine-tunes it on
--dataset (the synthetic ToyReID), and trains the same ViT on that from scratch, for as many epochs.
With --identities training has only so many, for as many iterations as with the most; the test is
whole. PRETRAIN.KEY VALUE pairs change the pre-training alone. An interrupted call is resumed by the
next.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from . import pretraining
from .runner import Arm, Rows, Study, mean_and_spread


def arms(args: argparse.Namespace) -> Iterator[Arm]:
    """From scratch and from DINO, for each number of identities."""
    return pretraining.arms(args, {"DINO": f"DINO on {args.pool}"})


def verdict(scores: Rows) -> str:
    """What DINO changes, seed by seed: mean and, of several seeds, standard deviation."""
    lines = []
    rows = [*scores]
    for scratch, dino in zip(rows[::2], rows[1::2], strict=True):
        after, before = ([run["mAP"] for run in scores[row]] for row in (dino, scratch))
        gains = np.subtract(after, before)
        _, comma, count = scratch.partition(", ")
        seeds = f" over {len(gains)} seeds" if len(gains) > 1 else ""
        sign = "+" if gains.mean() >= 0 else ""
        changes = f"DINO changes mAP by {sign}{mean_and_spread(gains.tolist())}{seeds}."
        lines.append(f"With {count}, {changes}" if comma else changes)
    return "\n".join(lines)


def conclusion(scores: Rows, args: argparse.Namespace) -> str:
    """The verdict, and how long the pre-trainings took that were not interrupted."""
    times = pretraining.times(args, "DINO")
    took = f" Pre-training took {times} minutes." if times else ""
    toys = pretraining.synthetic(args)
    synthetic = " and ".join(toys) + (" are" if len(toys) > 1 else " is") + " synthetic."
    return f"{verdict(scores)}{took} {synthetic if toys else ''}".rstrip()


STUDY = Study(
    __doc__,
    "dino_study",
    arms,
    pretraining.add_arguments,
    conclusion=conclusion,
    own=pretraining.OWN,
)
main, parser = STUDY.main, STUDY.parser
