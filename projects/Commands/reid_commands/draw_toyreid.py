"""Draw a contact sheet of ToyReID or ToyUnlabeled, the synthetic sets, rendered if need be.

python tools/draw_toyreid.py --root datasets --out docs/images/toyreid.png
python tools/draw_toyreid.py --pool --out docs/images/toyunlabeled.png
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from toyreid.people.render import render_toyreid
from toyreid.people.sheet import draw_sheet
from toyreid.pool.render import render_pool
from toyreid.pool.sheet import draw_pool_sheet


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("datasets"), help="folder of data sets")
    parser.add_argument("--pool", action="store_true", help="ToyUnlabeled instead of ToyReID")
    parser.add_argument("--out", type=Path, help="default: docs/images/toyreid.png")
    parser.add_argument(
        "--rows", type=int, help="identities to show (6); of the pool, rows of a kind (2)"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = args.out or Path("docs/images") / ("toyunlabeled.png" if args.pool else "toyreid.png")
    if args.pool:
        draw_pool_sheet(render_pool(args.root), out, args.rows or 2)
    else:
        draw_sheet(render_toyreid(args.root), out, args.rows or 6)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
