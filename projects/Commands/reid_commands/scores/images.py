"""Which images a command on scores is about."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from reid_common.errors import UserError


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add arguments that say where the images are."""
    names = "data sets, as in DATASETS.NAMES"
    parser.add_argument("--dataset", nargs="+", metavar="NAME", help=names)
    parser.add_argument("--images", metavar="PLACE", help="folder, list, LMDB or tar of images")


def dataset_names(args: argparse.Namespace, default: Sequence[str]) -> list[str]:
    """Data sets of :func:`add_images`, else the default ones."""
    if args.images and args.dataset:
        raise UserError("--images and --dataset are given; leave one of them out")
    return [f"ImageFolder:{args.images}"] if args.images else args.dataset or [*default]
