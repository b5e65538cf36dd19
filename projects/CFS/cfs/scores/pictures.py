"""Pictures of scores: their histogram; the highest, middle and lowest scorers beside the target.

The contact sheets are those of figure 4 of Luo et al., arXiv 2111.12084.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from dinopretrain.data.images import BadImage, UnlabelledImages
from reid_common.errors import UserError
from reid_common.pictures import Tile, draw_contact_sheet, plt, save_figure

from ..images.keys import key_list
from .reading import Scores
from .selection import select

BINS = 80
COLUMNS = 6


def draw_all(
    scores: Scores,
    images: UnlabelledImages,
    target: UnlabelledImages | None,
    folder: Path,
    number: int,
    columns: int = COLUMNS,
) -> list[Path]:
    """Draw histogram.png and images.png into a folder; returns the files.

    Args:
        scores: of ``images``, in their order.
        target: images of the target, None leaves them out.
        number: images of a sheet, in at most ``columns``.

    Raises:
        UserError: there are no scores, or the images are others than those that were scored.
    """
    if number < 1:
        raise UserError(f"--number is {number}; give at least 1")
    if not key_list(images).equals(scores.names):
        raise UserError(
            f"these {len(images)} images are not the {len(scores.names)} that were scored, or "
            "stand in another order; name the data set of the scores with --dataset or --images"
        )
    order = select(scores.names, scores.values)
    if not len(order):
        raise UserError(f"none of the {len(scores.values)} images has a score; see inspect")
    middle = max(0, (len(order) - number) // 2)
    parts = {
        "highest": order[:number],
        "middle": order[middle : middle + number],
        "lowest": order[-number:],
    }
    sheets = {
        f"{title} scores": [Tile(_read(images, i), f"{scores.values[i]:.3f}") for i in at.tolist()]
        for title, at in parts.items()
    }
    if target is not None:
        at = np.linspace(0, len(target) - 1, min(number, len(target))).round().astype(int)
        sheets["target"] = [Tile(_read(target, i)) for i in at.tolist()]
    files = [folder / "histogram.png", folder / "images.png"]
    draw_histogram(scores.values[order], files[0])
    draw_sheets(sheets, files[1], columns)
    return files


def _read(images: UnlabelledImages, index: int) -> np.ndarray:
    """An image; a grey one where it cannot be read (any more)."""
    try:
        return images.read(index)
    except BadImage:
        return np.full((128, 64, 3), 128, np.uint8)


def draw_histogram(values: np.ndarray, out: Path) -> None:
    """Draw how scores (N,), at least one, are distributed."""
    figure, axis = plt.subplots(figsize=(7, 4), dpi=100, layout="constrained")
    axis.hist(values, BINS, color="C0", alpha=0.8)
    for share, style in ((0.5, "--"), (0.4, ":")):  # what the best 50% and 60% lie above
        cut = float(np.quantile(values, share))
        axis.axvline(cut, color="black", linestyle=style, linewidth=1)
        axis.plot([], [], style, color="black", label=f"best {1 - share:.0%} from {cut:.3f}")
    axis.set(xlabel="catastrophic forgetting score", ylabel="images")
    axis.set_title(f"{len(values):,} images, mean {values.mean(dtype=np.float64):.4f}")
    axis.legend(fontsize=8)
    save_figure(figure, out)


def draw_sheets(sheets: Mapping[str, list[Tile]], out: Path, columns: int = COLUMNS) -> None:
    """Draw contact sheets (title -> images) beside each other, each of at most ``columns``."""
    columns = min(columns, max(map(len, sheets.values())))
    rows: list[list[Tile | None]] = []
    for start in range(0, max(map(len, sheets.values())), columns):
        rows.append([])
        for tiles in sheets.values():
            shown = tiles[start : start + columns]
            rows[-1] += [*shown, *[None] * (columns + 1 - len(shown))]  # a gap behind each
    labels = [text for title in sheets for text in [title, *[""] * columns]]
    draw_contact_sheet([row[:-1] for row in rows], out, column_labels=labels)
