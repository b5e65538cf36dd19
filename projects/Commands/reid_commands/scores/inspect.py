"""Print statistics of scores: count, quantiles, means of folders.

transreid inspect --scores scores/
"""

from __future__ import annotations

import argparse

from cfs.scores.summary import headline, summary_of
from reid_core.run.command_line import command_parser
from tabulate import tabulate

from ..command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    lines.add_argument("--scores", required=True, metavar="DIR", help="folder of the scores")
    folders = "number of folders with the highest and with the lowest mean scores (10)"
    lines.add_argument("--folders", type=int, default=10, metavar="N", help=folders)
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    summary = summary_of(args.scores)
    print(headline(summary))
    for reason, count in summary.bad.items():
        print(f"  {count:,} bad: {reason}")
    rows = [(f"{share:.0%}", score) for share, score in summary.quantiles.items()]
    print("\n" + tabulate(rows, ("quantile", "score"), "github", floatfmt=".4f"))
    shown = folders = summary.folders
    if len(folders) > 2 * args.folders:
        shown = [*folders[: args.folders], *folders[-args.folders :]]
        print(f"\n{len(folders):,} folders, the {args.folders} highest and lowest of them:")
    table = [(name or "(none)", count, mean) for name, count, mean in shown]
    print("\n" + tabulate(table, ("folder", "images", "mean score"), "github", floatfmt=".4f"))
