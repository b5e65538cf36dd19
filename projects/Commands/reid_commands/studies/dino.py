"""DINO against training from scratch on synthetic data: the same fine-tuning, other first weights.

python tools/dino_study.py --seeds 1 2 3

For each seed: pre-trains a small ViT on ToyUnlabeled, fine-tunes it on ToyReID, and trains the same
ViT on ToyReID from scratch, for as many epochs. An interrupted call is resumed by the next.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from cfs.pipeline.stages.stage import find_config
from cfs.pipeline.stages.training import started_from
from dinopretrain.engine.trainer import TEACHER_FILE
from reid_common.files import read_json, write_json
from reid_core.run.command_line import forget_loggers
from transreid import training

from .runner import Arm, Rows, Study, mean_and_spread

CONFIGS = "projects/DINOPretrain/configs"
PRETRAINING = f"{CONFIGS}/ToyUnlabeled/vit_tiny.yml"
FINE_TUNING = f"{CONFIGS}/ToyReID/vit_tiny.yml"
DONE = "pretraining.json"


def pretrain(out: Path, seed: int, opts: list[str]) -> list[str]:
    """Pre-train, unless an earlier call has; returns the KEY VALUE pairs that start from it."""
    folder = pretraining_folder(out, seed)
    if not (folder / DONE).exists():
        forget_loggers()
        resumed = (folder / "last_checkpoint").exists()
        start = time.perf_counter()
        pairs = ["SEED", str(seed), *opts, "OUTPUT_DIR", str(folder)]
        training.train_or_evaluate(training.arguments(find_config(PRETRAINING), pairs, resume=True))
        seconds = None if resumed else round(time.perf_counter() - start)
        write_json(folder / DONE, {"seconds": seconds, "opts": pairs[:-2]})
    return started_from(folder / TEACHER_FILE)


def pretraining_folder(out: Path, seed: int) -> Path:
    """OUTPUT_DIR of the pre-training of a seed."""
    return out / "pretrain" / f"seed{seed}"


SCRATCH = Arm("from scratch", FINE_TUNING, "scratch")
DINO = Arm("DINO on ToyUnlabeled", FINE_TUNING, "dino", prepare=pretrain)


def verdict(scores: Rows) -> str:
    """What DINO changes, seed by seed: mean and, of several seeds, standard deviation."""
    scratch, dino = ([run["mAP"] for run in scores[arm.title]] for arm in (SCRATCH, DINO))
    gains = np.subtract(dino, scratch)
    seeds = f" over {len(gains)} seeds" if len(gains) > 1 else ""
    sign = "+" if gains.mean() >= 0 else ""
    return f"DINO changes mAP by {sign}{mean_and_spread(gains.tolist())}{seeds}."


def conclusion(scores: Rows, args: argparse.Namespace) -> str:
    """The verdict, and how long the pre-trainings took that were not interrupted."""
    folders = [pretraining_folder(args.out, seed) for seed in args.seeds]
    seconds = [read_json(folder / DONE)["seconds"] for folder in folders]
    times = ", ".join(f"{s / 60:.1f}" for s in seconds if s is not None)
    took = f" Pre-training took {times} minutes." if times else ""
    return f"{verdict(scores)}{took} ToyUnlabeled and ToyReID are synthetic."


STUDY = Study(__doc__, "dino_study", [SCRATCH, DINO], conclusion=conclusion)
main, parser = STUDY.main, STUDY.parser
