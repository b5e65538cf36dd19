"""Scoring: images/s with the time of each stage, memory, and selection from LUPerson's number.

python tools/benchmarks/scoring.py speed
python tools/benchmarks/scoring.py memory --rows 10000 100000 1000000
python tools/benchmarks/scoring.py select --rows 4180243

speed: synthetic JPEGs through two models of random weights into shards. Stages are CPU time of one
thread, so that other programs on the machine matter little; models alternate round by round, and
medians are shown. memory: images that are drawn as they are asked for, through a network of one
layer, each number in a process of its own; peaks are what Linux says. select: scores at random.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fastreid_compat.repairs.distributed.launch import num_cores
from reid_core.run.command_line import show_user_errors

from ..harness import header
from ..synthetic import LUPERSON
from .many import memory_of_scoring, select_many
from .speed import MODELS, speed


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_subparsers(required=True, metavar="MODE")
    lines = modes.add_parser("speed", help="images/s, time of each stage, cost of LUPerson")
    lines.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    lines.add_argument("--images", type=int, default=128, help="a round (128)")
    lines.add_argument("--rounds", type=int, default=5)
    lines.add_argument("--batch-size", type=int, default=32)
    lines.add_argument("--jpeg", nargs=2, type=int, default=[256, 128], metavar=("H", "W"))
    lines.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    lines.add_argument("--threads", type=int, default=num_cores(), help="batches at a time")
    lines.set_defaults(run=speed)
    lines = modes.add_parser("memory", help="peak of memory for numbers of images")
    lines.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    lines.set_defaults(run=memory_of_scoring)
    lines = modes.add_parser("select", help="seconds of reading and selecting scores")
    lines.add_argument("--rows", type=int, default=LUPERSON)
    lines.set_defaults(run=select_many)
    args = parser.parse_args(argv)
    header(args)
    args.run(args)
    return 0
