"""Ablation on the synthetic ToyReID: baseline, +JPM, +SIE, both; several seeds, mean and spread.

python tools/ablation.py --seeds 1 2 3 MODEL.DEVICE cuda

Trains one model after another in logs/ablation; an interrupted call is resumed by the next.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from reid_core.run.command_line import show_user_errors

from .runner import Arm, Study

FOLDER = "projects/TransReID/configs/ToyReID"
CONFIGS = {
    "baseline": "vit_tiny_base",
    "+JPM": "vit_tiny_jpm",
    "+SIE": "vit_tiny_sie",
    "TransReID (+JPM +SIE)": "vit_tiny_transreid",
}
STUDY = Study(
    "ablation", [Arm(title, f"{FOLDER}/{name}.yml", name) for title, name in CONFIGS.items()]
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return STUDY.parser(__doc__)


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    STUDY.run(parser(), argv)
    return 0
