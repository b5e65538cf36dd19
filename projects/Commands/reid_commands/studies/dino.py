"""DINO against training from scratch: the same fine-tuning, other first weights.

python tools/dino_study.py --seeds 1 2 3
python tools/dino_study.py --dataset Market1501 --pool ImageFolder:/data/crops \\
    --identities 50 100 200

For each seed: pre-trains a small ViT on --pool (the synthetic ToyUnlabeled), fine-tunes it on
--dataset (the synthetic ToyReID), and trains the same ViT on that from scratch, for as many epochs.
With --identities training has only so many, the test is whole. An interrupted call is resumed by
the next.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from reid_core.data.thinning import with_identities
from reid_core.run.command_line import positive

from . import pretraining
from .runner import Arm, Rows, Study, dataset_options, file_name, mean_and_spread

CONFIGS = "projects/DINOPretrain/configs"
PRETRAINING = f"{CONFIGS}/ToyUnlabeled/vit_tiny.yml"
FINE_TUNING = f"{CONFIGS}/ToyReID/vit_tiny.yml"
POOL, DATASET = "ToyUnlabeled", "ToyReID"
SCRATCH_TITLE, DINO_TITLE = "from scratch", "DINO on {}"


def pretraining_folder(out: Path, seed: int, pool: str = POOL) -> Path:
    """OUTPUT_DIR of the pre-training of a seed."""
    return out / placed("pretrain", pool) / f"seed{seed}"


def placed(folder: str, pool: str) -> str:
    """Folder of what depends on the pool."""
    return folder if pool == POOL else f"{folder}_{file_name(pool)}"


def pairs_of(pool: str, dataset: str | None, seed: int, opts: list[str]) -> list[str]:
    """KEY VALUE pairs of a pre-training on ``pool``, tested on ``dataset`` (None: the config's)."""
    sets = [] if pool == POOL else ["DATASETS.NAMES", repr((pool,))]
    sets += [] if dataset is None else ["DATASETS.TESTS", repr((dataset,))]
    return ["SEED", str(seed), *sets, *opts]


def pretrain(pool: str, dataset: str | None, out: Path, seed: int, opts: list[str]) -> list[str]:
    """Pre-train, unless an earlier call has; returns the KEY VALUE pairs that start from it.

    Args:
        pool: data set.
        dataset: on which the teacher is tested meanwhile; None: that of the config.
        out: folder of the study.
        seed: of the run.
        opts: the user's KEY VALUE pairs.
    """
    folder = pretraining_folder(out, seed, pool)
    return pretraining.pretrain(PRETRAINING, folder, pairs_of(pool, dataset, seed, opts))


def add_arguments(lines: argparse.ArgumentParser) -> None:
    """Add what is pre-trained on, and how many identities are fine-tuned on."""
    add = lines.add_argument
    add("--pool", default=POOL, metavar="NAME", help=f"pre-train on it ({POOL})")
    numbers = "fine-tune on so many identities, one after the other (all)"
    add("--identities", type=positive, nargs="+", metavar="N", help=numbers)


def arms(args: argparse.Namespace) -> Iterator[Arm]:
    """From scratch and from DINO, for each number of identities."""
    first = functools.partial(pretrain, args.pool, args.dataset)
    for count in args.identities or [None]:
        train = args.dataset
        title, folder = "", ""
        if count is not None:
            train = with_identities(args.dataset or DATASET, count)
            title, folder = f", {count} identities", f"_{count}"
        options = dataset_options(train, args.dataset or DATASET)
        yield Arm(SCRATCH_TITLE + title, FINE_TUNING, f"scratch{folder}", options)
        dino, place = DINO_TITLE.format(args.pool) + title, placed("dino", args.pool) + folder
        yield Arm(dino, FINE_TUNING, place, options, prepare=first)


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
    folders = [pretraining_folder(args.out, seed, args.pool) for seed in args.seeds]
    seconds = [pretraining.seconds_of(folder) for folder in folders]
    times = ", ".join(f"{s / 60:.1f}" for s in seconds if s is not None)
    took = f" Pre-training took {times} minutes." if times else ""
    toys = [name for name in (args.pool, args.dataset or DATASET) if name in (POOL, DATASET)]
    synthetic = " and ".join(toys) + (" are" if len(toys) > 1 else " is") + " synthetic."
    return f"{verdict(scores)}{took} {synthetic if toys else ''}".rstrip()


STUDY = Study(__doc__, "dino_study", arms, add_arguments, conclusion=conclusion)
main, parser = STUDY.main, STUDY.parser
