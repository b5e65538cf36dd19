"""Write the report of a pre-training (transreid pretrain): report.html (one file) and report.md.

transreid report logs/conditional/Toy

It can be written at any time, also when only some stages are done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cfs.pipeline.report.writing import write_report
from reid_core.run.command_line import command_parser

from .command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    lines.add_argument("folder", type=Path, metavar="FOLDER", help="OUTPUT_DIR of the pretraining")
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    for file in write_report(args.folder):
        print(f"wrote {file}")
