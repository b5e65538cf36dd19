"""Pictures of scores: their histogram; the highest, middle and lowest scorers beside the target.

The contact sheets are those of figure 4 of Luo et al., arXiv 2111.12084.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from dinopretrain.data.images import BadImage, UnlabelledImages
from reid_common.errors import UserError
from reid_common.pictures import NEUTRAL, plt, save_figure

from ..images.keys import key_list
from .reading import Scores
from .selection import select

CELL = (128, 64)  # (H, W) of a thumbnail, in pixels
GAP = 4
BINS = 80
COLUMNS = 6


@dataclass(frozen=True)
class Sheet:
    """Some images of a picture.

    Attributes:
        title: above them.
        pictures: (H, W, 3) uint8 each.
        captions: under each.
    """

    title: str
    pictures: list[np.ndarray]
    captions: list[str]


def draw_all(
    scores: Scores,
    images: UnlabelledImages,
    target: UnlabelledImages | None,
    folder: Path,
    number: int,
    columns: int = COLUMNS,
) -> list[Path]:
    """Draw histogram.png and images.png.

    Args:
        scores: of ``images``, in their order.
        images: the data set that was scored.
        target: images of the target, None leaves them out.
        folder: where to.
        number: images of a sheet.
        columns: in how many columns, at most.

    Returns:
        The files.

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
    sheets = [_scored(title, images, scores, at) for title, at in chosen(order, number).items()]
    if target is not None:
        sheets.append(_of_target(target, number))
    files = [folder / "histogram.png", folder / "images.png"]
    draw_histogram(scores.values[order], files[0])
    draw_sheets(sheets, files[1], columns)
    return files


def chosen(order: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """The first, middle and last ``number`` of images that are sorted best first."""
    middle = max(0, (len(order) - number) // 2)
    return {
        "highest": order[:number],
        "middle": order[middle : middle + number],
        "lowest": order[-number:],
    }


def _scored(title: str, images: UnlabelledImages, scores: Scores, at: np.ndarray) -> Sheet:
    pictures = [_read(images, index) for index in at.tolist()]
    return Sheet(f"{title} scores", pictures, [f"{scores.values[i]:.3f}" for i in at])


def _of_target(target: UnlabelledImages, number: int) -> Sheet:
    at = np.linspace(0, len(target) - 1, min(number, len(target))).round().astype(int)
    return Sheet("target", [_read(target, index) for index in at.tolist()], [""] * len(at))


def _read(images: UnlabelledImages, index: int) -> np.ndarray:
    """An image; a grey one where it cannot be read (any more)."""
    try:
        return images.read(index)
    except BadImage:
        return np.full((*CELL, 3), 128, np.uint8)


def draw_histogram(values: np.ndarray, out: Path) -> None:
    """Draw how scores are distributed.

    Args:
        values: (N,) scores, at least one.
        out: picture.
    """
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


def draw_sheets(sheets: list[Sheet], out: Path, columns: int = COLUMNS) -> None:
    """Draw contact sheets beside each other.

    Args:
        sheets: at least one.
        out: picture.
        columns: of a sheet, at most.
    """
    columns = min(columns, max(len(sheet.pictures) for sheet in sheets))
    rows = max(-(-len(sheet.pictures) // columns) for sheet in sheets)
    height, width = CELL[0] + 3 * GAP, CELL[1] + GAP
    size = (len(sheets) * (columns * width / 70 + 0.2), rows * height / 70 + 0.6)
    figure, axes = plt.subplots(
        1, len(sheets), figsize=size, dpi=100, squeeze=False, layout="constrained"
    )
    for axis, sheet in zip(axes[0], sheets, strict=True):
        canvas = np.full((rows * height, columns * width, 3), 255, np.uint8)
        for number, picture in enumerate(sheet.pictures):
            top, left = number // columns * height, number % columns * width
            canvas[top : top + CELL[0], left : left + CELL[1]] = thumbnail(picture)
            caption = {"fontsize": 6, "color": NEUTRAL, "ha": "center", "va": "top"}
            axis.text(left + CELL[1] / 2, top + CELL[0], sheet.captions[number], **caption)
        axis.imshow(canvas)
        axis.set_axis_off()
        axis.set_title(sheet.title, fontsize=10)
    save_figure(figure, out)


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 as large as fits into a white cell of :data:`CELL`."""
    height, width = picture.shape[:2]
    scale = min(CELL[0] / height, CELL[1] / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    cell = np.full((*CELL, 3), 255, np.uint8)
    top, left = (CELL[0] - size[1]) // 2, (CELL[1] - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = small
    return cell
