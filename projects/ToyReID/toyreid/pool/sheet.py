"""A contact sheet of ToyUnlabeled: a block of pictures for each kind."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image, ImageOps
from reid_common.errors import UserError

from .plan import KINDS
from .render import IMAGES, TRUTH, read_meta

COLUMNS = 16


def draw_pool_sheet(folder: Path, out: Path, rows: int = 2, dpi: int = 90) -> None:
    """Write a contact sheet to ``out``: ``rows`` rows of 16 pictures of each kind.

    Args:
        folder: of a rendered pool.
        out: PNG file.
        rows: for each kind.
        dpi: pixels per inch; a picture is 0.75 inches wide.

    Raises:
        UserError: there is no pool in ``folder``.
    """
    if read_meta(folder) is None:
        raise UserError(f"there is no ToyUnlabeled in {str(folder)!r}")
    names = defaultdict(list)
    with open(folder / TRUTH, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            names[row["kind"]].append(row["name"])
    height = rows * len(KINDS)
    figure, grid = plt.subplots(
        height, COLUMNS, figsize=(0.75 * COLUMNS + 1, 1.4 * height + 0.6), squeeze=False
    )
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    for block, kind in enumerate(KINDS):
        for i, name in enumerate(names[kind][: rows * COLUMNS]):
            axes = grid[block * rows + i // COLUMNS][i % COLUMNS]
            with Image.open(folder / IMAGES / name) as image:
                axes.imshow(image.convert("RGB"))
                axes.set_xlabel(f"{image.width}x{image.height}", fontsize=5, labelpad=2)
        grid[block * rows][0].set_ylabel(kind.replace("_", " "), fontsize=8)
    figure.suptitle("ToyUnlabeled: synthetic (drawn) pictures, not photographs", fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 0.985), h_pad=0.3, w_pad=0.2)
    out.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi)
    plt.close(figure)
    # 32 levels a channel halve the file, and nobody sees the difference.
    ImageOps.posterize(Image.open(buffer).convert("RGB"), 5).save(out, optimize=True)
