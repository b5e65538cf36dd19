"""What all pictures have in common: a file to write, and a title."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from reid_common.pictures import check_picture_name


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the picture's file and title."""
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FILE", help=".png, .pdf or .svg"
    )
    parser.add_argument("--title", help="text on top")


def check_output(args: argparse.Namespace) -> None:
    """Check the name of the picture, before it is drawn, and let warnings be seen."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    check_picture_name(args.out)
