#!/usr/bin/env python3
"""DINO against training from scratch on synthetic data: the same fine-tuning, other first weights.

python tools/dino_study.py --seeds 1 2 3

For each seed: pre-trains a small ViT on ToyUnlabeled, fine-tunes it on ToyReID, and trains the same
ViT on ToyReID from scratch, for as many epochs. An interrupted call resumes where it was.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import ablation
import demo
import reports
import train_net
from dinopretrain.trainer import TEACHER_FILE
from fastreid.engine import default_argument_parser
from fastreid_compat.command_line import forget_loggers, show_user_errors

CONFIGS = Path("projects/DINOPretrain/configs")
PRETRAINING = CONFIGS / "ToyUnlabeled" / "vit_tiny.yml"
FINE_TUNING = CONFIGS / "ToyReID" / "vit_tiny.yml"
ROWS = {"scratch": "from scratch", "dino": "DINO on ToyUnlabeled"}


def pretrain(folder: Path, opts: list[str]) -> Path:
    """Pre-train, unless an earlier call has; returns the file of the teacher's backbone.

    Args:
        folder: of the run.
        opts: KEY VALUE pairs for the config.
    """
    done = folder / "pretraining.json"
    if not done.exists():
        forget_loggers()
        line = ["--config-file", str(PRETRAINING), "--resume", *opts, "OUTPUT_DIR", str(folder)]
        resumed = (folder / "last_checkpoint").exists()
        start = time.perf_counter()
        train_net.main(default_argument_parser().parse_args(line))
        seconds = None if resumed else round(time.perf_counter() - start)
        reports.write_json(done, {"seconds": seconds, "opts": opts})
    return folder / TEACHER_FILE


@show_user_errors
def main() -> None:
    """Run what is missing, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("logs/dino_study"))
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for every run")
    args = parser.parse_args()
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in ROWS.values()}
    for seed in args.seeds:
        common = ["SEED", str(seed), *args.opts]
        teacher = pretrain(args.out / "pretrain" / f"seed{seed}", common)
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
    print("ToyUnlabeled and ToyReID are synthetic.")


if __name__ == "__main__":
    main()
