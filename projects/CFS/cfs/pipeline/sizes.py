"""How much the stages of a pipeline have to work on: images, identities, iterations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from dinopretrain.data.listing import read_list
from dinopretrain.data.loader import open_images
from fastreid.config import CfgNode
from reid_core.data.filter_hook import has_filters
from reid_core.data.opening import data_root
from reid_core.data.splits import opened_set

from ..scores.reading import read_scores
from ..scores.selection import number_kept
from .plan import SCORES, SELECTION
from .stages import Stage, is_dino

SUMMARY = "filters_summary.json"


_COUNTS: dict[tuple[str, str, bool], int] = {}  # millions of images are listed once


def test_images(name: str) -> int:
    """Query and gallery images of a test set."""
    return len(opened_set(name).test)


def training_size(cfg: CfgNode) -> dict[str, int]:
    """Images, and for labelled data identities, of DATASETS.NAMES before filters."""
    if is_dino(cfg):
        return {"images": sum(_count(cfg, name) for name in cfg.DATASETS.NAMES)}
    images, identities = 0, set()  # names that begin with the data set's
    for name in cfg.DATASETS.NAMES:
        train = opened_set(name, combineall=bool(cfg.DATASETS.COMBINEALL)).train
        images += len(train)
        identities.update(train.identities)
    return {"images": images, "identities": len(identities)}


def _count(cfg: CfgNode, name: str) -> int:
    """Images of a data set."""
    key = (data_root(), name, cfg.DATASETS.COMBINEALL)
    if key not in _COUNTS:
        _COUNTS[key] = len(open_images(cfg, name))
    return _COUNTS[key]


def selected(folder: Path, cfg: CfgNode, images: int) -> int:
    """Images that a selection names, or will name, of so many."""
    if (folder / SELECTION).is_file():
        return len(read_list(str(folder / SELECTION)))
    return number_kept(images, cfg.KEEP, cfg.KEEP_NUM)


def planned_sizes(stages: Sequence[Stage], folder: Path, cfg: CfgNode) -> dict[str, dict[str, int]]:
    """Sizes of all stages, as far as they are known before they run.

    Raises:
        UserError: a data set cannot be opened.
    """
    by_name = {stage.name: stage for stage in stages}
    sizes: dict[str, dict[str, int]] = {}
    for name in ("source", "target", "finetune"):
        sizes[name] = _trained(by_name[name], folder)
    images = sum(_count(by_name["source"].cfg, n) for n in by_name["source"].cfg.DATASETS.NAMES)
    kept = selected(folder, cfg, images)
    sizes["score"] = {"images": images}
    sizes["select"] = {"images": images, "kept": kept}
    sizes["pretrain"] = _trained(by_name["pretrain"], folder, kept)
    tests = by_name["evaluate"].settings["tests"]
    sizes["evaluate"] = {"images": sum(map(test_images, tests))}
    return sizes


def _trained(stage: Stage, folder: Path, most: int | None = None) -> dict[str, int]:
    """Sizes of a training; of images that filters leave, what is known: at most ``most``."""
    cfg = stage.cfg
    assert cfg is not None
    size = training_size(cfg)
    summary = folder / stage.name / SUMMARY
    if has_filters(cfg) and summary.is_file():
        size["images"] = json.loads(summary.read_text())["kept"]
    elif most is not None:
        size["images"] = min(size["images"], most)
    iterations = size["images"] // cfg.SOLVER.IMS_PER_BATCH * cfg.SOLVER.MAX_EPOCH
    return {**size, "epochs": cfg.SOLVER.MAX_EPOCH, "iterations": iterations}


def sizes_of(stage: Stage, folder: Path) -> dict[str, int]:
    """Sizes of a stage that has been done."""
    if stage.trains:
        return _trained(stage, folder)
    if "scores" in stage.outputs:
        scores = read_scores(str(folder / SCORES))
        bad = int(np.isnan(scores.values).sum())
        return {"images": len(scores.values), "bad": bad}
    if "list" in stage.outputs:
        scores = read_scores(str(folder / SCORES))
        kept = len(read_list(str(folder / SELECTION)))
        return {"images": int(np.isfinite(scores.values).sum()), "kept": kept}
    return {"images": sum(map(test_images, stage.settings["tests"]))}


def in_words(sizes: Mapping[str, int]) -> str:
    """Sizes as text: "4,096 images, 18 epochs"."""
    return ", ".join(f"{number:,} {what}" for what, number in sizes.items())
