"""Train a model, or evaluate one on its test sets: FastReID's, TransReID and DINO.

transreid train --config-file projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml
transreid train --config-file c.yml --num-gpus 2 SOLVER.MAX_EPOCH 60 OUTPUT_DIR logs/run --resume
transreid train --config-file logs/run/config.yaml --eval-only MODEL.WEIGHTS logs/run/model.pth
"""

from __future__ import annotations

import argparse
import sys

from reid_core.run.command_line import add_config_arguments, command_parser, positive
from transreid.training import launch_run

from .command import command


def parser() -> argparse.ArgumentParser:
    """The command line, with FastReID's options."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS instead of training")
    add("--num-gpus", type=positive, default=1, metavar="N", help="processes on this machine (1)")
    add("--num-machines", type=positive, default=1, metavar="N", help="number of machines (1)")
    add("--machine-rank", type=int, default=0, metavar="N", help="this machine's number, from 0")
    url = "where the processes meet, as in tcp://first-machine:29500 (auto: a free port here)"
    add("--dist-url", default="auto", metavar="URL", help=url)
    add_config_arguments(lines, "config of the run")
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    print("Command line:", " ".join(sys.argv))
    launch_run(args)
