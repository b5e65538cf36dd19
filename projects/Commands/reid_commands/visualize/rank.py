"""Draw rank lists of a search: queries with their nearest images.

transreid visualize rank results/ranking.npz -o ranks.png --queries 3 17
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_common.pictures import check_picture_name
from reid_core.run.command_line import command_parser, positive
from transreid.visualize.rank_lists import draw_results

from ..arguments import add_picture_arguments
from ..command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("results", type=Path, help="ranking.npz of transreid search")
    add("--queries", type=int, nargs="+", metavar="N", help="0-based numbers of the queries")
    rows = "without --queries: number of evenly spaced queries (8)"
    add("--rows", type=positive, default=8, metavar="N", help=rows)
    add("--top", type=positive, default=10, metavar="K", help="number of neighbours (10)")
    add_picture_arguments(lines)
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    check_picture_name(args.out)
    draw_results(args.results, args.out, args.queries, args.rows, args.top, args.title)
    print(f"wrote {args.out}")
