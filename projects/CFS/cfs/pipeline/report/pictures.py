"""The pictures of a pipeline's report, drawn into its folder's ``report/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dinopretrain.data.images import ChainedImages
from dinopretrain.data.loader import open_images
from reid_common.curves import draw_curves, read_metrics
from reid_common.digests import file_digest
from reid_common.errors import UserError
from reid_common.files import read_json, write_json
from reid_common.report_pages import Block, Picture, Text
from reid_core.config import load_config

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
    out = folder / PICTURES
    histogram, sheets = out / "histogram.png", out / "images.png"
    values = scores.values[~np.isnan(scores.values)]
    alt = f"Histogram of {len(values):,} scores, from {values.min():.3f} to {values.max():.3f}."
    shown = Picture(histogram, alt, "How the scores are distributed.")
    of = _what_is_drawn(folder / "scores", target)
    try:
        if not (of and _drawn(out) == of and histogram.is_file() and sheets.is_file()):
            cfg = load_config()
            images = open_listing(cfg, read_meta(folder / "scores").get("dataset", []))
            beside = ChainedImages([open_images(cfg, name) for name in target]) if target else None
            cfs_pictures.draw_all(scores, images, beside, out, NUMBER, COLUMNS)
            write_json(out / DRAWN, of)
    except UserError as error:
        cfs_pictures.draw_histogram(values, histogram)
        return [shown, Text(f"No contact sheets: {error}")]
    alt = "Contact sheets: images with the highest, the middle and the lowest scores"
    caption = "The highest, middle and lowest scores, each image with its own"
    if target:
        alt += f", beside images of {', '.join(target)}"
        caption += f"; on the right images of the target, {', '.join(target)}, evenly spaced"
    return [shown, Picture(sheets, alt + ".", caption + ".")]


def _what_is_drawn(scores: Path, target: Sequence[str]) -> dict[str, Any]:
    """What the pictures depend on; empty if that cannot be said."""
    meta = scores / META
    if not meta.is_file():
        return {}
    return {"scores": file_digest(meta), "target": [*target], "number": NUMBER}


def _drawn(out: Path) -> Any:
    """What the pictures in ``out`` were drawn of, if that can be said."""
    try:
        return read_json(out / DRAWN)
    except UserError:
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
