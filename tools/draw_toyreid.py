"""Draw a contact sheet of ToyReID, the synthetic data set; renders the data set if need be.

python tools/draw_toyreid.py --root datasets --out docs/images/toyreid.png
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from transreid.data.toy.render import render_toyreid
from transreid.data.toy.sheet import draw_sheet


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("datasets"), help="folder of data sets")
    parser.add_argument("--out", type=Path, default=Path("docs/images/toyreid.png"))
    parser.add_argument("--rows", type=int, default=6, help="identities to show")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    draw_sheet(render_toyreid(args.root), args.out, args.rows)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
