"""Draw scores: a histogram, and contact sheets of high, middle and low scores.

transreid plot --scores scores/ --target-images Market1501 -o pictures/
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cfs.images.listing import open_listing
from cfs.scores import pictures
from cfs.scores.reading import read_scores
from cfs.scores.shards import read_meta
from reid_core.config import load_config
from reid_core.run.command_line import command_parser

from ..arguments import add_images, dataset_names
from ..command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("--scores", required=True, metavar="DIR", help="folder of the scores")
    add_images(lines)
    add("--target-images", metavar="PLACE", help="data set, folder or list of the target's images")
    add("-o", "--out", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    add("--number", type=int, default=24, metavar="N", help="images of a sheet (24)")
    return lines


@command(parser, logged="cfs")
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    meta, scores, cfg = read_meta(Path(args.scores)), read_scores(args.scores), load_config()
    images = open_listing(cfg, dataset_names(args, meta.get("dataset", [])))
    target = None
    if args.target_images:
        place = args.target_images
        name = f"ImageFolder:{place}" if os.path.exists(place) else place
        target = open_listing(cfg, [name])
    for file in pictures.draw_all(scores, images, target, args.out, args.number):
        print(f"wrote {file}")
