"""Contact sheets and rank lists of images, drawn without a display.

A picture is a PNG, PDF or SVG, by the suffix of its name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from .errors import UserError
from .files import replacing
from .image_files import check_images
from .late_imports import LateModule

if TYPE_CHECKING:
    import matplotlib.pyplot as plt
else:
    plt = LateModule("matplotlib.pyplot", lambda _, pyplot: pyplot.switch_backend("Agg"))

SUFFIXES = (".png", ".pdf", ".svg")
GREEN, RED, NEUTRAL, QUERY = "#2a9d3a", "#d62828", "#777777", "#1d3557"
THUMBNAIL = 192  # pixels of the longer side
GAP, LINE = 0.06, 0.13  # inches between images, and of a line of a caption


def check_picture_name(out: Path) -> None:
    """Raise UserError if a picture cannot be written under this name, before it is drawn."""
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"{str(out)!r} is no name of a picture; end it in {', '.join(SUFFIXES)}")
    if out.is_dir():
        raise UserError(f"{str(out)!r} is a folder; name a file in it")


def save_figure(figure: plt.Figure, out: Path) -> None:
    """Write a figure under a temporary name, then rename, and close it.

    Raises:
        UserError: the suffix is none of a picture, or the file cannot be written.
    """
    check_picture_name(out)
    try:
        with replacing(out) as temporary:
            figure.savefig(temporary, format=out.suffix[1:].lower(), bbox_inches="tight")
    finally:
        plt.close(figure)


@dataclass(frozen=True)
class Tile:
    """One image of a contact sheet."""

    image: str | os.PathLike[str] | np.ndarray  # file, or (H, W, 3) uint8
    caption: str = ""  # below it, a few short lines
    colour: str = ""  # of its frame and caption; "": no frame, and a grey caption


def draw_contact_sheet(
    rows: Sequence[Sequence[Tile | None]],
    out: Path,
    title: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    cell: tuple[float, float] = (1.28, 0.64),
    bits: int = 8,
) -> None:
    """Draw rows of small images, which keep their proportions; few are held at a time.

    Args:
        rows: of images, None is a gap; a row may be shorter than others.
        out: picture.
        title: text on top.
        row_labels: left of the rows.
        column_labels: above the columns.
        cell: height and width of an image in inches, without its caption.
        bits: of each colour channel; 5 halve the file, and nobody sees the difference.

    Raises:
        UserError: there is no image, or it is missing or cannot be read.
    """
    tiles = [tile for row in rows for tile in row if tile is not None]
    if not tiles:
        raise UserError(f"nothing to draw in {str(out)!r}: there is no image")
    check_picture_name(out)
    check_images(tile.image for tile in tiles if not isinstance(tile.image, np.ndarray))
    below = GAP + LINE * max(tile.caption.count("\n") + bool(tile.caption) for tile in tiles)
    height, width = cell[0] + below, cell[1] + GAP
    columns = max(map(len, rows))
    size = columns * width, len(rows) * height
    figure = plt.figure(figsize=size, dpi=90)
    # One pair of axes in inches: one for each image would take most of the time.
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(size[1], 0))
    axis.set_axis_off()
    for number, row in enumerate(rows):
        for place, tile in enumerate(row):
            if tile is not None:
                _show(axis, tile, (place * width + GAP / 2, number * height), cell, bits)
    for number, label in enumerate(row_labels[: len(rows)]):
        middle = number * height + cell[0] / 2
        axis.text(-GAP, middle, label, fontsize=8, rotation=90, ha="right", va="center")
    for place, label in enumerate(column_labels[:columns]):
        axis.text((place + 0.5) * width, -GAP, label, fontsize=8, ha="center", va="bottom")
    above = 0.3 if column_labels else 0.1
    figure.suptitle(title, y=1 + above / size[1], va="bottom", fontsize=11)
    save_figure(figure, out)


def _show(
    axis: plt.Axes, tile: Tile, corner: tuple[float, float], cell: tuple[float, float], bits: int
) -> None:
    """Draw a tile in the middle of a cell whose upper left corner is at ``corner`` (x, y)."""
    given = tile.image
    with Image.fromarray(given) if isinstance(given, np.ndarray) else Image.open(given) as image:
        small = image.convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
    scale = min(cell[0] / small.height, cell[1] / small.width)
    tall, wide = scale * small.height, scale * small.width
    x, y = corner[0] + (cell[1] - wide) / 2, corner[1] + (cell[0] - tall) / 2
    axis.imshow(ImageOps.posterize(small, bits), extent=(x, x + wide, y + tall, y), aspect="auto")
    colour, below = tile.colour or NEUTRAL, y + tall + 0.03
    axis.text(x + wide / 2, below, tile.caption, fontsize=7, color=colour, ha="center", va="top")
    if tile.colour:
        corner, edge = (x, y), tile.colour
        axis.add_patch(plt.Rectangle(corner, wide, tall, fill=False, edgecolor=edge, linewidth=3))


@dataclass
class RankRow:
    """One row of a ranking picture: a query and its nearest images."""

    query_path: str
    query_caption: str  # below the query, a few short lines
    # (image file, caption, right) of the gallery images, nearest first; right is True for the
    # query's identity, False for another one, None where it is not known
    neighbours: list[tuple[str, str, bool | None]]


def draw_rank_rows(rows: list[RankRow], out: Path, title: str, top: int = 10) -> None:
    """Draw queries with their ``top`` nearest images, framed green (right), red (wrong) or grey.

    Raises:
        UserError: there is nothing to draw, or an image is missing or cannot be read.
    """
    if not rows or top < 1:
        raise UserError(f"nothing to draw: {len(rows)} queries with {top} neighbours each")
    colours = {True: GREEN, False: RED, None: NEUTRAL}
    check_images(row.query_path for row in rows)
    tiles, proportions = [], []
    for row in rows:
        found = [Tile(path, text, colours[right]) for path, text, right in row.neighbours[:top]]
        tiles.append([Tile(row.query_path, row.query_caption, QUERY), *found])
        with Image.open(row.query_path) as image:
            proportions.append(image.height / image.width)
    # Within what a readable picture can show
    tall = float(np.clip(np.median(proportions), 0.4, 3.0))
    draw_contact_sheet(tiles, out, title, cell=(0.9 * tall, 0.9))
