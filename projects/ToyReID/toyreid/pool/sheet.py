"""A contact sheet of ToyUnlabeled: a block of pictures for each kind."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from PIL import Image
from reid_common.errors import UserError
from reid_common.pictures import Tile, draw_contact_sheet

from ..people.once import read_meta
from .plan import KINDS
from .render import IMAGES, TRUTH

COLUMNS = 16


def draw_pool_sheet(folder: Path, out: Path, rows: int = 2) -> None:
    """Write a contact sheet to ``out``: ``rows`` rows of 16 pictures of each kind.

    Raises:
        UserError: there is no pool in ``folder``.
    """
    if read_meta(folder) is None:
        raise UserError(f"there is no ToyUnlabeled in {str(folder)!r}")
    names = defaultdict(list)
    with open(folder / TRUTH, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            names[row["kind"]].append(row["name"])
    tiles, labels = [], []
    for kind in KINDS:
        for number in range(rows):
            shown = names[kind][number * COLUMNS : (number + 1) * COLUMNS]
            tiles.append([_tile(folder / IMAGES / name) for name in shown])
            labels.append("" if number else kind.replace("_", " "))
    title = "ToyUnlabeled: synthetic (drawn) pictures, not photographs"
    draw_contact_sheet(tiles, out, title, labels, cell=(1.1, 0.6), bits=5)


def _tile(file: Path) -> Tile:
    with Image.open(file) as image:
        return Tile(file, f"{image.width}x{image.height}")
