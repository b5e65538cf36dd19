#!/usr/bin/env python3
"""What the SIE does for cameras that training has not seen, on the synthetic ToyReID.

python tools/unknown_cameras.py

Trains under cameras 1-4 without SIE, with it, and with it and camera dropout; then evaluates the
same weights with each policy of MODEL.SIE.UNKNOWN under cameras 5-6 (unseen), 1-6 (both) and 1-4
(seen, where the policy makes no difference). An interrupted call resumes where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from fastreid.engine import DefaultTrainer, default_argument_parser
from reid_core.run import reports
from reid_core.run.command_line import forget_loggers, show_user_errors

from .. import train as train_net
from . import demo

CONFIG = "projects/TransReID/configs/ToyReID/vit_tiny_unknown_cameras.yml"
TRAININGS = {
    "no SIE": ["MODEL.SIE.CAMERA", "False", "MODEL.SIE.VIEW", "False"],
    "SIE": [],
    "SIE, dropout": ["MODEL.SIE.CAMERA_DROPOUT", "{dropout}"],
}
POLICIES = ("mean", "zero")
TESTS = {
    "unseen cameras (5-6)": "ToyReID:cameras=5-6",
    "both (1-6)": "ToyReID:cameras=1-6",
    "seen (1-4)": "ToyReID:cameras=1-4",
}
Scores = dict[str, dict[str, float]]  # test set -> {"mAP", "Rank-1"}, in percent


def evaluations(name: str) -> dict[str, str]:
    """Rows of the table that one training gives, and the policy that each is evaluated with."""
    if name == "no SIE":
        return {name: POLICIES[0]}  # makes no difference
    return {f"{name}: {policy}": policy for policy in POLICIES}


def evaluate(opts: list[str], weights: Path, file: Path) -> Scores:
    """Evaluate weights on every test set, unless an earlier call has.

    Args:
        opts: KEY VALUE pairs of the run and of the row.
        weights: checkpoint.
        file: JSON file that keeps the scores.
    """
    if file.exists() and file.stat().st_mtime >= weights.stat().st_mtime:
        return json.loads(file.read_text())
    forget_loggers()
    tests = str(tuple(TESTS.values()))
    opts = [*opts, "MODEL.WEIGHTS", str(weights), "DATASETS.TESTS", tests]
    line = ["--config-file", CONFIG, "--eval-only", *opts]
    cfg = train_net.setup(default_argument_parser().parse_args(line))
    model = train_net.model_with(cfg, cfg.MODEL.WEIGHTS)
    scores: Scores = {}
    for column, test in TESTS.items():
        one = cfg.clone()
        one.defrost()
        one.DATASETS.TESTS = (test,)
        results = DefaultTrainer.test(one, model)
        scores[column] = {key: float(results[key]) for key in ("mAP", "Rank-1")}
    reports.write_json(file, scores)
    return scores


def summary(scores: dict[str, list[Scores]]) -> str:
    """Markdown table of mAP / Rank-1, mean over the seeds, with the spread of mAP.

    Args:
        scores: for each row the scores of each seed.
    """
    lines = [f"| mAP / Rank-1 | seeds | {' | '.join(TESTS)} |", "|---|---|" + "---|" * len(TESTS)]
    for row, runs in scores.items():
        cells = []
        for column in TESTS:
            maps = np.array([run[column]["mAP"] for run in runs])
            ranks = np.array([run[column]["Rank-1"] for run in runs])
            spread = f" ± {maps.std(ddof=1):.1f}" if len(runs) > 1 else ""
            cells.append(f"{maps.mean():.1f}{spread} / {ranks.mean():.1f}")
        lines.append(f"| {row} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


@show_user_errors
def main() -> None:
    """Run what is missing, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dropout", type=float, default=0.3, help="of cameras, third training")
    parser.add_argument("--out", type=Path, default=Path("logs/unknown_cameras"))
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for every run")
    args = parser.parse_args()
    scores: dict[str, list[Scores]] = {}
    # Seeds outermost: a whole table is there as soon as each model is trained once.
    for seed in args.seeds:
        for name, options in TRAININGS.items():
            options = [option.format(dropout=args.dropout) for option in options]
            folder = args.out / name.replace(", ", "_").replace(" ", "_") / f"seed{seed}"
            fixed = ["SEED", str(seed), "OUTPUT_DIR", str(folder), *args.opts, *options]
            demo.run(CONFIG, fixed)
            for row, policy in evaluations(name).items():
                opts = [*fixed, "MODEL.SIE.UNKNOWN", policy]
                file = folder / f"unknown_cameras_{policy}.json"
                one = evaluate(opts, folder / "model_final.pth", file)
                scores.setdefault(row, []).append(one)
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / "unknown_cameras.md").write_text(summary(scores) + "\n")
            reports.write_json(args.out / "unknown_cameras.json", scores)
            print(f"\n{summary(scores)}\n", flush=True)


if __name__ == "__main__":
    main()
