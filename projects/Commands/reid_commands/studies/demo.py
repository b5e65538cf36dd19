"""The demo: train a small TransReID on the synthetic ToyReID, and show what it learnt.

python tools/demo.py SOLVER.MAX_EPOCH 5 OUTPUT_DIR logs/short

Evaluates the untrained model, trains it, evaluates again, prints a table and writes results.json,
results.md, curve.png and ranks.png. Interrupt it at any time: the same command resumes, and a
finished run is only printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from reid_core.run.command_line import parse_command, show_user_errors

from .finished_run import table, train_and_report
from .runner import study_parser

CONFIG = "projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return study_parser(__doc__, config=CONFIG)


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parse_command(parser(), argv)
    results, folder = train_and_report(args.config_file, args.opts)
    print(f"\n{table(results)}\n")
    ratio = results["trained"]["mAP"] / results["untrained"]["mAP"]
    seconds = results["seconds_of_training"]
    time_taken = "" if seconds is None else f", after {seconds / 60:.1f} minutes of training"
    print(f"mAP is {ratio:.1f} times that of the untrained model{time_taken}.")
    print(f"ToyReID is synthetic. Curve, ranking pictures, weights and events: {folder}/")
    return 0
