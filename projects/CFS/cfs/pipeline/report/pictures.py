"""The pictures of a pipeline's report, drawn into its folder's ``report/``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dinopretrain.data.images import ChainedImages, UnlabelledImages
from dinopretrain.data.loader import open_images
from reid_common.curves import draw_curves, read_metrics
from reid_common.errors import UserError
from reid_common.report_pages import Block, Picture, Text
from reid_core.config import load_config
from reid_core.run.reports import write_json

from ...images.listing import open_listing
from ...scores import pictures as cfs_pictures
from ...scores.reading import Scores
from ...scores.shards import META, read_meta

PICTURES = "report"
DRAWN = "drawn.json"
NUMBER, COLUMNS = 15, 3  # images of a contact sheet: what a page has room for
# Trainings whose curves share a picture: picture -> stages
CURVES = {"pretraining": ("source", "pretrain"), "target": ("target", "finetune")}


def draw_scores(folder: Path, scores: Scores, target: Sequence[str]) -> list[Block]:
    """Draw the histogram and the contact sheets; what is up to date is left.

    Args:
        folder: of the pipeline.
        scores: of ``folder/scores``, at least one.
        target: names of the data sets of the target.

    Returns:
        Pictures, and a text where the images of the sheets are unavailable.
    """
    histogram, sheets = (folder / PICTURES / name for name in ("histogram.png", "images.png"))
    drawn = folder / PICTURES / DRAWN
    values = scores.values[~np.isnan(scores.values)]
    alt = f"Histogram of {len(values):,} scores, from {values.min():.3f} to {values.max():.3f}."
    shown = Picture(histogram, alt, "How the scores are distributed.")
    of = _what_is_drawn(folder / "scores", target)
    try:
        if not (of and _read(drawn) == of and histogram.is_file() and sheets.is_file()):
            _draw(folder, scores, target)
            write_json(drawn, of)
    except UserError as error:
        cfs_pictures.draw_histogram(values, histogram)
        return [shown, Text(f"No contact sheets: {error}")]
    alt = "Contact sheets: images with the highest, the middle and the lowest scores"
    caption = "The highest, middle and lowest scores, each image with its own"
    if target:
        alt += f", beside images of {', '.join(target)}"
        caption += f"; on the right images of the target, {', '.join(target)}, evenly spaced"
    return [shown, Picture(sheets, alt + ".", caption + ".")]


def _draw(folder: Path, scores: Scores, target: Sequence[str]) -> None:
    """Draw both.

    Raises:
        UserError: the images are not there, or others than those that were scored.
    """
    cfg = load_config()
    images = open_listing(cfg, read_meta(folder / "scores").get("dataset", []))
    parts = [open_images(cfg, name) for name in target]
    beside: UnlabelledImages | None = ChainedImages(parts) if parts else None
    cfs_pictures.draw_all(scores, images, beside, folder / PICTURES, NUMBER, COLUMNS)


def _what_is_drawn(scores: Path, target: Sequence[str]) -> dict[str, Any]:
    """What the pictures depend on; empty if that cannot be said."""
    meta = scores / META
    if not meta.is_file():
        return {}
    digest = hashlib.sha256(meta.read_bytes()).hexdigest()
    return {"scores": digest, "target": [*target], "number": NUMBER}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def draw_training(folder: Path) -> list[Block]:
    """Draw the curves of the trainings that have some, unless that has been done."""
    blocks: list[Block] = []
    for name, stages in CURVES.items():
        runs = {stage: folder / stage for stage in stages if _has_curves(folder / stage)}
        if not runs:
            continue
        file = folder / PICTURES / f"curves_{name}.png"
        changed = max((run / "metrics.json").stat().st_mtime_ns for run in runs.values())
        if not file.is_file() or file.stat().st_mtime_ns <= changed:
            draw_curves(runs, file, " and ".join(runs))
        shown = f"training loss, learning rate and test scores of {' and '.join(runs)}"
        blocks.append(Picture(file, f"Curves: {shown}.", f"{shown.capitalize()}."))
    return blocks


def _has_curves(run: Path) -> bool:
    try:
        return bool(read_metrics(run))
    except UserError:
        return False
