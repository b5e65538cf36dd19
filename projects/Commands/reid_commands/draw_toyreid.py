"""Draw a contact sheet of ToyReID or ToyUnlabeled, the synthetic data sets.

transreid draw-toyreid --root datasets -o docs/images/toyreid.png
transreid draw-toyreid --pool -o docs/images/toyunlabeled.png

A data set that is missing in the root is rendered first.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid_core.run.command_line import command_parser, show_user_errors
from toyreid.people.render import render_toyreid
from toyreid.people.sheet import draw_sheet
from toyreid.pool.render import render_pool
from toyreid.pool.sheet import draw_pool_sheet

IMAGES = Path("docs/images")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("--root", type=Path, default=Path("datasets"), help="folder of the data sets (datasets)")
    add("--pool", action="store_true", help="draw ToyUnlabeled instead of ToyReID")
    add("-o", "--out", type=Path, metavar="FILE", help=f"(in {IMAGES})")
    rows = "number of identities (6); with --pool number of rows of each kind (2)"
    add("--rows", type=int, metavar="N", help=rows)
    return lines


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = args.out or IMAGES / ("toyunlabeled.png" if args.pool else "toyreid.png")
    if args.pool:
        draw_pool_sheet(render_pool(args.root), out, args.rows or 2)
    else:
        draw_sheet(render_toyreid(args.root), out, args.rows or 6)
    print(f"wrote {out}")
    return 0
