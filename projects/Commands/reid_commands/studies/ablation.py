#!/usr/bin/env python3
"""Ablation on the synthetic ToyReID: baseline, +JPM, +SIE, both; several seeds; mean and spread.

python tools/ablation.py

Runs are made one after another under ``logs/ablation``; an interrupted call resumes where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from reid_core.run import reports
from reid_core.run.command_line import show_user_errors

from . import demo

CONFIGS = {
    "baseline": "vit_tiny_base",
    "+JPM": "vit_tiny_jpm",
    "+SIE": "vit_tiny_sie",
    "TransReID (+JPM +SIE)": "vit_tiny_transreid",
}
FOLDER = Path("projects/TransReID/configs/ToyReID")


def summary(scores: dict[str, list[dict[str, float]]]) -> str:
    """Markdown table: mean ± standard deviation over the seeds, and the seeds themselves.

    Args:
        scores: for each row its {"mAP", "Rank-1"}, one a seed, in percent.
    """
    lines = ["| model | seeds | mAP | Rank-1 | mAP of each seed |", "|---|---|---|---|---|"]
    for name, runs in scores.items():
        cells = []
        for key in ("mAP", "Rank-1"):
            values = np.array([run[key] for run in runs])
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.1f}{spread}")
        each = ", ".join(f"{run['mAP']:.1f}" for run in runs)
        lines.append(f"| {name} | {len(runs)} | {cells[0]} | {cells[1]} | {each} |")
    return "\n".join(lines)


@show_user_errors
def main() -> None:
    """Run what is missing, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("logs/ablation"))
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for every config")
    args = parser.parse_args()
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in CONFIGS}
    # Seeds outermost: a table of all four models is there after the first quarter of the time.
    for seed in args.seeds:
        for name, config in CONFIGS.items():
            out = args.out / config / f"seed{seed}"
            opts = ["SEED", str(seed), "OUTPUT_DIR", str(out), *args.opts]
            results, _ = demo.run(str(FOLDER / f"{config}.yml"), opts)
            scores[name].append(results["trained"])
            done = {row: runs for row, runs in scores.items() if runs}
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / "ablation.md").write_text(summary(done) + "\n")
            reports.write_json(args.out / "ablation.json", done)
            print(f"\n{summary(done)}\n", flush=True)


if __name__ == "__main__":
    main()
