"""Draw loss, learning rate and metrics of runs.

transreid visualize curves logs/run1 logs/run2 -o curves.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_common.curves import draw_curves
from reid_common.pictures import check_picture_name
from reid_core.run.command_line import command_parser

from ..arguments import add_picture_arguments
from ..command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    lines.add_argument("runs", type=Path, nargs="+", help="OUTPUT_DIR or metrics.json of a run")
    add_picture_arguments(lines)
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    check_picture_name(args.out)
    short = [str(run.name or run) for run in args.runs]
    names = short if len(set(short)) == len(short) else [str(run) for run in args.runs]
    draw_curves(dict(zip(names, args.runs, strict=True)), args.out, args.title or "Training")
    print(f"wrote {args.out}")
