#!/usr/bin/env python3
"""DINO against training from scratch on synthetic data: the same fine-tuning, other first weights.

python tools/dino_study.py --seeds 1 2 3

For each seed: pre-trains a small ViT on ToyUnlabeled, fine-tunes it on ToyReID, and trains the same
ViT on ToyReID from scratch, for as many epochs. An interrupted call resumes where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from dinopretrain.engine.trainer import TEACHER_FILE
from fastreid.engine import default_argument_parser
from reid_core.run import reports
from reid_core.run.command_line import forget_loggers, show_user_errors

from .. import train as train_net
from . import ablation, demo

CONFIGS = Path("projects/DINOPretrain/configs")
PRETRAINING = CONFIGS / "ToyUnlabeled" / "vit_tiny.yml"
FINE_TUNING = CONFIGS / "ToyReID" / "vit_tiny.yml"
DONE = "pretraining.json"
ROWS = {"scratch": "from scratch", "dino": "DINO on ToyUnlabeled"}


def pretrain(folder: Path, opts: list[str]) -> Path:
    """Pre-train, unless an earlier call has; returns the file of the teacher's backbone.

    Args:
        folder: of the run.
        opts: KEY VALUE pairs for the config.
    """
    done = folder / DONE
    if not done.exists():
        forget_loggers()
        line = ["--config-file", str(PRETRAINING), "--resume", *opts, "OUTPUT_DIR", str(folder)]
        resumed = (folder / "last_checkpoint").exists()
        start = time.perf_counter()
        train_net.main(default_argument_parser().parse_args(line))
        seconds = None if resumed else round(time.perf_counter() - start)
        reports.write_json(done, {"seconds": seconds, "opts": opts})
    return folder / TEACHER_FILE


def verdict(scores: dict[str, list[dict[str, float]]]) -> str:
    """What DINO changes, seed by seed: mean and, of several seeds, standard deviation."""
    scratch, dino = ([run["mAP"] for run in scores[row]] for row in ROWS.values())
    gains = np.subtract(dino, scratch)
    spread = f" ± {gains.std(ddof=1):.1f} over {len(gains)} seeds" if len(gains) > 1 else ""
    return f"DINO changes mAP by {gains.mean():+.1f}{spread}."


def minutes(folders: list[Path]) -> str:
    """How long pre-training took, of the runs that were made in one go."""
    seconds = [json.loads((f / DONE).read_text())["seconds"] for f in folders]
    times = [f"{s / 60:.1f}" for s in seconds if s is not None]
    return f"Pre-training took {', '.join(times)} minutes." if times else ""


@show_user_errors
def main() -> None:
    """Run what is missing, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("logs/dino_study"))
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for every run")
    args = parser.parse_args()
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in ROWS.values()}
    folders = [args.out / "pretrain" / f"seed{seed}" for seed in args.seeds]
    for seed, folder in zip(args.seeds, folders, strict=True):
        common = ["SEED", str(seed), *args.opts]
        teacher = pretrain(folder, common)
        weights = ["MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH", str(teacher)]
        for name, row in ROWS.items():
            own = ["OUTPUT_DIR", str(args.out / name / f"seed{seed}")]
            extra = weights if name == "dino" else []
            results, _ = demo.run(str(FINE_TUNING), [*common, *own, *extra])
            scores[row].append(results["trained"])
        table = ablation.summary({row: runs for row, runs in scores.items() if runs})
        (args.out / "dino_study.md").write_text(table + "\n")
        reports.write_json(args.out / "dino_study.json", scores)
        print(f"\n{table}\n", flush=True)
    print(verdict(scores), minutes(folders), "ToyUnlabeled and ToyReID are synthetic.")


if __name__ == "__main__":
    main()
