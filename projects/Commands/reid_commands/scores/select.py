"""Write the list of the images with the best scores.

transreid select --scores scores/ --keep 0.5 -o CFS_list.pkl
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from cfs import select
from cfs.scores.lists import check_list_name, write_list
from cfs.scores.reading import read_scores
from cfs.scores.selection import check_keep
from reid_common.left_out import check_left_out
from reid_core.run.command_line import command_parser

from ..command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("--scores", required=True, metavar="DIR", help="folder of the scores")
    add("--keep", type=float, metavar="SHARE", help="share of the images with a score, 0..1")
    add("--keep-num", type=int, metavar="N", help="number of images")
    add("-o", "--out", type=Path, required=True, metavar="FILE", help=".txt, .parquet or .pkl")
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    check_list_name(args.out)
    check_keep(args.keep, args.keep_num)
    scores = read_scores(args.scores)
    scored = int(np.isfinite(scores.values).sum())
    without = {"without a score": len(scores.values) - scored}
    check_left_out(len(scores.values), without, f"images of {args.scores}", most=1)
    chosen = select(scores.names, scores.values, args.keep, args.keep_num)
    write_list(args.out, scores.names.take(chosen), scores.values[chosen])
    lowest = f", down to a score of {scores.values[chosen[-1]]:.4f}" if len(chosen) else ""
    print(f"{args.out}: {len(chosen):,} of {scored:,} images with a score{lowest}")
