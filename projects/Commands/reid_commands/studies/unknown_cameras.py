"""What the SIE does for cameras that training has not seen, on the synthetic ToyReID.

python tools/unknown_cameras.py --seeds 1 2

Trains under cameras 1-4 without SIE, with it, and with it and camera dropout; then evaluates the
same weights with each policy of MODEL.SIE.UNKNOWN under cameras 5-6 (unseen), 1-6 (both) and 1-4
(seen, where the policy makes no difference). An interrupted call is resumed by the next.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import reid_core  # noqa: F401  (first: repairs FastReID)
from fastreid.engine import DefaultTrainer
from reid_common.files import read_json, write_json
from reid_core.run.command_line import forget_loggers, parse_command, show_user_errors
from transreid import training

from .runner import Arm, Rows, Scores, Study, mean_and_spread

CONFIG = "projects/TransReID/configs/ToyReID/vit_tiny_unknown_cameras.yml"
POLICIES = ("mean", "zero")
TESTS = {
    "unseen cameras (5-6)": "ToyReID:cameras=5-6",
    "both (1-6)": "ToyReID:cameras=1-6",
    "seen (1-4)": "ToyReID:cameras=1-4",
}


def evaluate(policies: dict[str, str], folder: Path, pairs: list[str]) -> dict[str, Scores]:
    """Rows of the table: scores of the trained weights with each policy.

    Args:
        policies: row -> value of MODEL.SIE.UNKNOWN.
        folder: of the training.
        pairs: KEY VALUE pairs of the training.
    """
    weights = folder / "model_final.pth"
    return {
        row: scores_of([*pairs, "MODEL.SIE.UNKNOWN", policy], weights, folder, policy)
        for row, policy in policies.items()
    }


def scores_of(pairs: list[str], weights: Path, folder: Path, policy: str) -> Scores:
    """Scores of each test set, which are measured once and kept in ``folder``."""
    file = folder / f"unknown_cameras_{policy}.json"
    if file.exists() and file.stat().st_mtime >= weights.stat().st_mtime:
        return read_json(file)
    forget_loggers()
    tests = str(tuple(TESTS.values()))
    pairs = [*pairs, "MODEL.WEIGHTS", str(weights), "DATASETS.TESTS", tests]
    cfg = training.setup(training.arguments(CONFIG, pairs, eval_only=True))
    model = training.model_with(cfg, cfg.MODEL.WEIGHTS)
    scores = {}
    for column, test in TESTS.items():
        one = cfg.clone()
        one.defrost()
        one.DATASETS.TESTS = (test,)
        results = DefaultTrainer.test(one, model)
        scores[column] = {key: float(results[key]) for key in ("mAP", "Rank-1")}
    write_json(file, scores)
    return scores


def summary(scores: Rows) -> str:
    """Markdown table of mAP / Rank-1, mean over the seeds, with the spread of mAP.

    Args:
        scores: for each row the scores of each seed, by test set.
    """
    lines = [f"| mAP / Rank-1 | seeds | {' | '.join(TESTS)} |", "|---|---|" + "---|" * len(TESTS)]
    for row, runs in scores.items():
        cells = []
        for column in TESTS:
            rank1 = sum(run[column]["Rank-1"] for run in runs) / len(runs)
            cells.append(f"{mean_and_spread([r[column]['mAP'] for r in runs])} / {rank1:.1f}")
        lines.append(f"| {row} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def arms(dropout: float) -> list[Arm]:
    """The three trainings; without SIE the policy makes no difference."""
    off = ["MODEL.SIE.CAMERA", "False", "MODEL.SIE.VIEW", "False"]
    options = {
        "no SIE": off,
        "SIE": [],
        "SIE, dropout": ["MODEL.SIE.CAMERA_DROPOUT", str(dropout)],
    }
    found = []
    for name, pairs in options.items():
        rows = {f"{name}: {policy}": policy for policy in POLICIES}
        rows = {name: POLICIES[0]} if pairs == off else rows
        folder = name.replace(", ", "_").replace(" ", "_")
        evaluation = functools.partial(evaluate, rows)
        found.append(Arm(name, CONFIG, folder, pairs, evaluate=evaluation))
    return found


STUDY = Study("unknown_cameras", arms(0.3), seeds=(1, 2), table=summary)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = STUDY.parser(__doc__)
    dropout = "camera dropout of the third training (0.3)"
    lines.add_argument("--dropout", type=float, default=0.3, metavar="RATE", help=dropout)
    return lines


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    dropout = parse_command(parser(), argv).dropout
    replace(STUDY, arms=arms(dropout)).run(parser(), argv)
    return 0
