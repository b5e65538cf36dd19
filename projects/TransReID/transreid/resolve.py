"""Sizes of the SIE table that a config leaves open, and whether the data fit it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.data.names import dataset_name
from reid_core.data.opening import MissingDataset
from reid_core.side_information.label_files import KEY as FILES_KEY
from reid_core.side_information.label_files import open_labelled
from reid_core.side_information.rows import (
    KEY,
    CameraTable,
    camera_rows,
    camera_table,
    raw_cameras,
)
from torch import Tensor

from .modeling.side_embedding import decode_table
from .weights.formats import read_weights

logger = logging.getLogger(__name__)

PREFIX = "backbone.sie."


def resolve_side_information(cfg: CfgNode, from_weights: bool = False) -> None:
    """Fill MODEL.SIE.NUM_CAMERAS, MODEL.SIE.NUM_VIEWS and DATASETS.CAMERAS where they are open.

    Call it after the config is merged and before it is frozen; the tools do. Nothing happens unless
    MODEL.SIE.CAMERA or MODEL.SIE.VIEW is on. What the test sets have and training has not is
    logged, or refused if MODEL.SIE.UNKNOWN is "error".

    Args:
        cfg: changed in place.
        from_weights: evaluation of MODEL.WEIGHTS: sizes, and which camera a row stands for, are
            what the checkpoint says, whatever data sets are on this machine.

    Raises:
        UserError: a size is too small for the cameras or viewpoints of the data sets, cannot be
            found out, or training has none; with MODEL.SIE.UNKNOWN "error" also images whose
            camera or viewpoint has no row.
    """
    sie = cfg.MODEL.SIE
    if not (sie.CAMERA or sie.VIEW):
        return
    if not cfg.DATASETS.NAMES:
        raise UserError("DATASETS.NAMES is empty; name the training set, whose cameras SIE embeds")
    stored = _stored_sie(cfg.MODEL.WEIGHTS) if from_weights and cfg.MODEL.WEIGHTS else {}
    if sie.CAMERA:
        _resolve_cameras(cfg, stored)
    if sie.VIEW and sie.NUM_VIEWS == 0 and "sie_embed" in stored:
        sie.NUM_VIEWS = len(stored["sie_embed"]) // (sie.NUM_CAMERAS if sie.CAMERA else 1)
    tests = list(_test_sets(cfg))
    # An evaluation whose sizes are known needs no training images.
    sized = from_weights and (sie.NUM_VIEWS > 0 or not sie.VIEW)
    training = [] if sized else list(_training_sets(cfg))
    if sie.VIEW:
        _resolve_views(cfg, training, tests)
    for opened in (*training, *tests):
        _check_unknown(cfg, opened)


def _resolve_cameras(cfg: CfgNode, stored: dict[str, Tensor]) -> None:
    sie = cfg.MODEL.SIE
    if not cfg.DATASETS.CAMERAS and stored:
        cfg.DATASETS.CAMERAS = _stored_cameras(cfg, stored)
    table = camera_table(cfg)
    if not table.names():
        raise UserError(
            f"MODEL.SIE.CAMERA is on, but no image of the training set "
            f"{', '.join(cfg.DATASETS.NAMES)} has a known camera; set MODEL.SIE.CAMERA False, or "
            f"state the cameras in a file ({FILES_KEY})"
        )
    if table.format() == () and sie.NUM_CAMERAS:  # the one training set is not on this machine
        table = CameraTable([(table.names()[0], sie.NUM_CAMERAS)])
    if sie.NUM_CAMERAS == 0:
        sie.NUM_CAMERAS = table.num_rows
        logger.info("MODEL.SIE.NUM_CAMERAS = %d: %s", sie.NUM_CAMERAS, ", ".join(table.format()))
    elif table.num_rows > sie.NUM_CAMERAS:
        raise UserError(
            f"MODEL.SIE.NUM_CAMERAS is {sie.NUM_CAMERAS}, but camera ids go up to "
            f"{table.num_rows - 1} ({', '.join(table.format())}); set it to {table.num_rows}, or "
            "to 0 to take it from the training set"
        )
    elif len(table.names()) == 1:
        # More rows than the training images show: cameras that only the test set has.
        table = CameraTable([(table.names()[0], sie.NUM_CAMERAS)])
    cfg.DATASETS.CAMERAS = table.format()


def _stored_cameras(cfg: CfgNode, stored: dict[str, Tensor]) -> tuple[str, ...]:
    """DATASETS.CAMERAS of a checkpoint, () where it cannot be told."""
    text = decode_table(stored["camera_table"]) if "camera_table" in stored else ""
    if not text and len(cfg.DATASETS.NAMES) == 1:  # a released file: rows of its one training set
        num_views = cfg.MODEL.SIE.NUM_VIEWS if cfg.MODEL.SIE.VIEW else 1
        cameras = cfg.MODEL.SIE.NUM_CAMERAS
        if not cameras and num_views:
            cameras = len(stored["sie_embed"]) // num_views
        text = f"{dataset_name(cfg.DATASETS.NAMES[0])}:{cameras}" if cameras else ""
    if text:
        logger.info("%s, from %s: %s", KEY, cfg.MODEL.WEIGHTS, text)
    return tuple(text.split(",")) if text else ()


def _resolve_views(cfg: CfgNode, training: Sequence[Opened], tests: Sequence[Opened]) -> None:
    sie = cfg.MODEL.SIE
    if training and not any(view >= 0 for opened in training for view in opened.views):
        names = ", ".join(repr(dataset_name(opened.name)) for opened in training)
        source = next((x.source for x in training if x.source), "a method viewpoint(img_path)")
        raise UserError(
            f"MODEL.SIE.VIEW is on, but the data set {names} has no viewpoints; turn it off, state "
            f"them in a file ({FILES_KEY}), or give the data set {source}"
        )
    needed = max((max(opened.views, default=-1) + 1 for opened in (*training, *tests)), default=0)
    needed = max([needed, *(opened.num_views for opened in training)])
    if sie.NUM_VIEWS == 0:
        sie.NUM_VIEWS = needed
        logger.info("MODEL.SIE.NUM_VIEWS = %d, from the data sets", needed)
    elif needed > sie.NUM_VIEWS:
        raise UserError(
            f"MODEL.SIE.NUM_VIEWS is {sie.NUM_VIEWS}, but the data sets have {needed} viewpoints; "
            f"set it to {needed}, or to 0 to take it from the data sets"
        )


def _check_unknown(cfg: CfgNode, opened: Opened) -> None:
    """Log or refuse the images of a data set whose camera or viewpoint has no row."""
    parts, unknown = [], [False] * len(opened.views)
    if cfg.MODEL.SIE.CAMERA:
        table = CameraTable.parse(cfg.DATASETS.CAMERAS)
        rows = camera_rows(table, dataset_name(opened.name), opened.cameras)
        numbers = raw_cameras(dataset_name(opened.name), opened.cameras)
        unknown = [row < 0 for row in rows]
        lacking = sorted({n for n, row in zip(numbers, rows, strict=True) if row < 0 <= n})
        without = sum(number < 0 for number in numbers)
        known = ", ".join(cfg.DATASETS.CAMERAS)
        parts += [f"cameras {lacking} (0-based) that are not among {known}"] if lacking else []
        parts += [f"{without} images without a camera"] if without else []
    if cfg.MODEL.SIE.VIEW:
        unknown = [u or view < 0 for u, view in zip(unknown, opened.views, strict=True)]
        without = sum(view < 0 for view in opened.views)
        parts += [f"{without} images without a viewpoint"] if without else []
    if not parts:
        return
    what = f"the {opened.role} set {opened.name} has {', '.join(parts)}"
    if cfg.MODEL.SIE.UNKNOWN == "error":
        raise UserError(
            f"{what}: the SIE has no row for them, and MODEL.SIE.UNKNOWN is error. Set that to "
            f"mean or zero, leave {opened.name} out, raise MODEL.SIE.NUM_CAMERAS if it is the same "
            "data set, or set MODEL.SIE.CAMERA or VIEW False"
        )
    count, policy = sum(unknown), cfg.MODEL.SIE.UNKNOWN
    # A model that has always been told the camera does badly without (tools/unknown_cameras.py).
    prepared = not cfg.MODEL.SIE.CAMERA or cfg.MODEL.SIE.CAMERA_DROPOUT > 0
    logger.info(
        "%s: to the SIE %d of %d images are unknown, MODEL.SIE.UNKNOWN is %s%s",
        what,
        count,
        len(unknown),
        policy,
        "" if prepared else "; training with MODEL.SIE.CAMERA_DROPOUT, say 0.3, prepares for that",
    )


@dataclass(frozen=True)
class Opened:
    """What matters here of a data set.

    Attributes:
        name: as in DATASETS.NAMES or DATASETS.TESTS.
        role: "training" or "test".
        cameras: of its images, as FastReID's items give them.
        views: of its images, 0-based, -1 = not known.
        num_views: viewpoints that it can have, 0 where it does not say.
        source: where it would have its viewpoints from, "" where it does not say.
    """

    name: str
    role: str
    cameras: Sequence[Any]
    views: Sequence[int]
    num_views: int
    source: str


def _opened(name: str, role: str, data: Any, items: Sequence[Sequence[Any]]) -> Opened:
    viewpoint = getattr(data, "viewpoint", None)
    views = [-1 if viewpoint is None else int(viewpoint(item[0])) for item in items]
    cameras = [item[2] for item in items]
    num_views, source = getattr(data, "num_views", 0), getattr(data, "viewpoint_source", "")
    return Opened(name, role, cameras, views, num_views, source)


def _training_sets(cfg: CfgNode) -> Iterator[Opened]:
    for name in cfg.DATASETS.NAMES:
        try:
            data = open_labelled(cfg, name, combineall=cfg.DATASETS.COMBINEALL)
        except MissingDataset:
            if cfg.MODEL.SIE.VIEW and not cfg.MODEL.SIE.NUM_VIEWS:
                raise
            continue  # whoever trains on it is told so by the loader
        yield _opened(name, "training", data, data.train)


def _test_sets(cfg: CfgNode) -> Iterator[Opened]:
    for name in dict.fromkeys(cfg.DATASETS.TESTS):
        try:
            data = open_labelled(cfg, name)
        except MissingDataset:
            continue  # whoever tests on it is told so by the loader
        yield _opened(name, "test", data, [*data.query, *data.gallery])


def _stored_sie(path: str) -> dict[str, Tensor]:
    """SIE tensors of a checkpoint of any known format; empty for one without."""
    if not os.path.isfile(path):
        raise UserError(f"MODEL.WEIGHTS: {path!r} does not exist")
    state = read_weights(path).state
    return {key[len(PREFIX) :]: state[key] for key in state if key.startswith(PREFIX)}
