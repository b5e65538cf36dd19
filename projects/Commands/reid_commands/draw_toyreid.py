"""Draw a contact sheet of ToyReID or ToyUnlabeled, the synthetic data sets.

transreid draw-toyreid -o toyreid.png
transreid draw-toyreid --pool --root datasets -o toyunlabeled.png

A data set that is missing in the root is rendered first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_common.pictures import check_picture_name
from reid_core.data.opening import data_root
from reid_core.run.command_line import command_parser, positive
from toyreid.people.render import render_toyreid
from toyreid.people.sheet import draw_sheet
from toyreid.pool.render import render_pool
from toyreid.pool.sheet import draw_pool_sheet

from .command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    root = "folder of the data sets ($FASTREID_DATASETS, or datasets)"
    add("--root", type=Path, default=Path(data_root()), metavar="DIR", help=root)
    add("--pool", action="store_true", help="draw ToyUnlabeled instead of ToyReID")
    add("-o", "--out", type=Path, metavar="FILE", help="(toyreid.png or toyunlabeled.png)")
    rows = "number of identities (6); with --pool number of rows of each kind (2)"
    add("--rows", type=positive, metavar="N", help=rows)
    return lines


@command(parser, logged="toyreid")
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    out = args.out or Path("toyunlabeled.png" if args.pool else "toyreid.png")
    check_picture_name(out)  # before a data set is rendered
    if args.pool:
        draw_pool_sheet(render_pool(args.root), out, args.rows or 2)
    else:
        draw_sheet(render_toyreid(args.root), out, args.rows or 6)
    print(f"wrote {out}")
