"""Pictures of runs: rank lists and training curves, drawn without a display.

A picture is a PNG, PDF or SVG, by the suffix of its name.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from .errors import UserError
from .files import replacing
from .image_files import check_images

SUFFIXES = (".png", ".pdf", ".svg")
GREEN, RED, NEUTRAL, QUERY = "#2a9d3a", "#d62828", "#777777", "#1d3557"
THUMBNAIL = 192  # pixels of the longer side
MEASURES = {"mAP": "-", "Rank-1": ":"}  # what curves show of the tests, and its line style
MARKERS = "osv^D*"  # of the test sets


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


@dataclass
class RankRow:
    """One row of a ranking picture: a query and its nearest images.

    Attributes:
        query_path: image file of the query.
        query_caption: text above it, a few short lines.
        neighbours: (image file, caption, right) of the gallery images, nearest first; ``right`` is
            True for the query's identity, False for another one, None where it is not known.
    """

    query_path: str
    query_caption: str
    neighbours: list[tuple[str, str, bool | None]]


def draw_rank_rows(rows: list[RankRow], out: Path, title: str, top: int = 10) -> None:
    """Draw query rows with their nearest images, framed green (right), red (wrong) or grey.

    Images keep their proportions. Few of them are held at a time, each as a thumbnail.

    Args:
        rows: at least one; a row may have fewer than ``top`` neighbours.
        out: PNG file.
        title: text on top.
        top: neighbours to show of each row.

    Raises:
        UserError: there is nothing to draw, or an image is missing or cannot be read.
    """
    if not rows or top < 1:
        raise UserError(f"nothing to draw: {len(rows)} queries with {top} neighbours each")
    check_picture_name(out)
    check_images(path for row in rows for path in _shown_paths(row, top))
    tall = _proportion([row.query_path for row in rows])
    width = max(top + 1, 4)  # inches: one an image, but no title fits on less than 4
    height = (width / (top + 1) * tall + 0.35) * len(rows) + 0.5
    figure, axes = plt.subplots(
        len(rows), top + 1, figsize=(width, height), dpi=70, squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for line, row in zip(axes, rows, strict=True):
        _show(line[0], row.query_path, row.query_caption, QUERY)
        for axis, (path, caption, right) in zip(line[1:], row.neighbours, strict=False):
            _show(axis, path, caption, {True: GREEN, False: RED, None: NEUTRAL}[right])
    figure.suptitle(title, fontsize=12)
    save_figure(figure, out)


def _shown_paths(row: RankRow, top: int) -> list[str]:
    return [row.query_path, *(path for path, _, _ in row.neighbours[:top])]


def _proportion(paths: list[str]) -> float:
    """Median height / width of images, held within what a readable picture can show."""
    proportions = []
    for path in paths:
        with Image.open(path) as image:
            proportions.append(image.height / image.width)
    return float(np.clip(np.median(proportions), 0.4, 3.0))


def _show(axis: plt.Axes, path: str, caption: str, colour: str) -> None:
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
    axis.imshow(small)
    axis.set_axis_on()
    axis.set(xticks=[], yticks=[])
    axis.set_title(caption, fontsize=7, color=colour)
    for spine in axis.spines.values():
        spine.set(edgecolor=colour, linewidth=3)


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Rows of FastReID's metrics.json, one an iteration that was logged, in order.

    A resumed run repeats iterations: of each, the last value of every measure counts.

    Args:
        run: output folder of a run, or the file itself.

    Raises:
        UserError: no such file, or nothing in it.
    """
    path = run / "metrics.json" if run.is_dir() else run
    if not path.is_file():
        raise UserError(
            f"there is no {str(path)!r}; name the OUTPUT_DIR of a run that has trained for an epoch"
        )
    rows: dict[int, dict[str, float]] = {}
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the run was killed, or is just now, in the middle of a line
        if isinstance(row, dict) and "iteration" in row:
            rows.setdefault(int(row["iteration"]), {}).update(row)
    if not rows:
        raise UserError(f"{str(path)!r} has no measurements yet; wait for the first epoch")
    return [rows[iteration] for iteration in sorted(rows)]


def draw_curves(runs: dict[str, Path], out: Path, title: str) -> None:
    """Draw training loss, learning rate and test scores of runs over their iterations.

    Args:
        runs: name -> output folder or metrics.json; one colour a run.
        out: picture.
        title: text on top.

    Raises:
        UserError: a run has no metrics.json.
    """
    metrics = {name: read_metrics(path) for name, path in runs.items()}
    figure, (loss, rate, score) = plt.subplots(1, 3, figsize=(15, 4.2), dpi=90, layout="tight")
    styles: dict[str, dict[str, Any]] = {}
    for number, (name, rows) in enumerate(metrics.items()):
        colour = f"C{number % 10}"
        loss.plot(*_series(rows, "total_loss"), color=colour, label=name)
        rate.plot(*_series(rows, "lr"), color=colour)
        for key, style in _score_styles(rows).items():
            score.plot(*_series(rows, key), color=colour, **style)
            styles[key] = style
    loss.set(title="training loss", xlabel="iteration", ylabel="total loss")
    rate.set(title="learning rate", xlabel="iteration")
    score.set(title="test", xlabel="iteration", ylabel="%")
    for axis in (loss, rate, score):
        axis.grid(alpha=0.3)
    for axis in (rate, score):
        axis.set_ylim(bottom=0)
    loss.legend(fontsize=8)
    if styles:
        lines = [plt.Line2D([], [], color="black", **style) for style in styles.values()]
        score.legend(lines, list(styles), fontsize=8)
    else:
        score.text(0.5, 0.5, "no test yet", ha="center", transform=score.transAxes)
    figure.suptitle(title)
    save_figure(figure, out)


def _score_styles(rows: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Line style of each test score; "Market1501/mAP" where a run tests on several sets."""
    keys = sorted({key for row in rows for key in row if key.rpartition("/")[2] in MEASURES})
    sets = sorted({key.rpartition("/")[0] for key in keys})
    styles = {}
    for key in keys:
        name, _, measure = key.rpartition("/")
        marker = MARKERS[sets.index(name) % len(MARKERS)]
        styles[key] = {"linestyle": MEASURES[measure], "marker": marker, "markersize": 4}
    return styles


def _series(rows: list[dict[str, float]], key: str) -> tuple[list[int], list[float]]:
    """Iterations and values of one measure, without gaps and infinities."""
    points = [(row["iteration"], row[key]) for row in rows if key in row]
    points = [(int(x), y) for x, y in points if math.isfinite(y)]
    return [x for x, _ in points], [y for _, y in points]
