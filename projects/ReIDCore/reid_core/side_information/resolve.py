"""Sizes of the SIE table that a config leaves open, and whether the data fit it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from fastreid.config import CfgNode
from reid_common.errors import UserError
from torch import Tensor

from ..data.opened_sets import OpenedSet
from .labelled_sets import KEY as FILES_KEY
from .labelled_sets import test_sets, training_sets
from .rows import KEY, CameraTable, camera_rows, table_of
from .stored import decode_table
from .trained import RECORD, known_pairs, pairs_of_images
from .unknown import check_unknown

logger = logging.getLogger(__name__)

# Of a checkpoint: sie_embed, and camera_table and trained_rows if it is one of ours
Stored = Mapping[str, Tensor]


def resolve_side_information(cfg: CfgNode, stored: Stored | None = None) -> None:
    """Fill MODEL.SIE.NUM_CAMERAS, MODEL.SIE.NUM_VIEWS and DATASETS.CAMERAS where they are open.

    Call it after the config is merged and before it is frozen; the tools do. Nothing happens unless
    MODEL.SIE.CAMERA or MODEL.SIE.VIEW is on. What the test sets have and training has not is
    logged, or refused if MODEL.SIE.UNKNOWN is "error".

    Args:
        cfg: changed in place.
        stored: for an evaluation of MODEL.WEIGHTS, its SIE tensors: sizes, and which camera a row
            stands for, are what they say, whatever data sets are on this machine. Empty: it has
            none. None: for a training.

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
    evaluating, stored = stored is not None, stored or {}
    counted = sie.CAMERA and not cfg.DATASETS.CAMERAS
    if counted and stored:
        _take_cameras(cfg, stored)
        counted = not cfg.DATASETS.CAMERAS
    # An evaluation whose sizes are known needs no training images.
    sized = evaluating and (sie.NUM_VIEWS > 0 or not sie.VIEW or stored_sizes(stored, 1, 0)[1] > 0)
    training = training_sets(cfg) if counted or not sized else []
    tests = [opened for opened in test_sets(cfg) if not opened.missing]
    table = _resolve_cameras(cfg, training) if sie.CAMERA else None
    training = [] if sized else training
    if sie.VIEW:
        _, sie.NUM_VIEWS = stored_sizes(stored, sie.NUM_CAMERAS if table else 1, sie.NUM_VIEWS)
    missing = [opened.missing for opened in training if opened.missing]
    if missing and sie.VIEW and not sie.NUM_VIEWS:
        raise missing[0]  # else whoever trains on it is told so by the loader
    training = [opened for opened in training if not opened.missing]
    if sie.VIEW:
        _resolve_views(cfg, training, tests)
    known = _known_pairs(cfg, table, stored if evaluating else None, training)
    parts = [("training", opened, opened.train) for opened in training]
    for role, opened, images in [*parts, *(("test", opened, opened.test) for opened in tests)]:
        what = f"the {role} set {opened.name}"
        check_unknown(cfg, table, known, what, opened.dataset_name, images)


def _known_pairs(
    cfg: CfgNode, table: CameraTable | None, stored: Stored | None, training: Sequence[OpenedSet]
) -> Tensor | None:
    """Pairs of a camera and a viewpoint that are trained, (C, V) bool; None: not known.

    An evaluation (``stored``) takes the record of its weights, a training the training images.
    """
    sie = cfg.MODEL.SIE
    sizes = (sie.NUM_CAMERAS if table else 0, sie.NUM_VIEWS if sie.VIEW else 0)
    if stored is None:
        # Weights that it starts from may have trained more.
        path = cfg.MODEL.WEIGHTS or (cfg.MODEL.BACKBONE.PRETRAIN and sie.UNKNOWN == "error")
        if path or not training:
            return None
        cameras, views = list[int](), list[int]()
        for opened in training:
            images, name = opened.train, opened.dataset_name
            cameras += camera_rows(table or CameraTable(()), name, images.cameras)
            views += images.views
        record = pairs_of_images(cameras, views, *sizes).flatten()
    elif RECORD not in stored:
        return None
    else:
        record = stored[RECORD]
        names = stored_cameras(stored)
        if table and names and names != cfg.DATASETS.CAMERAS:
            theirs = record.unflatten(0, (-1, max(sizes[1], 1)))
            rows = table.rows_in(CameraTable.parse(names), len(theirs))
            rows = (rows + [-1] * sizes[0])[: sizes[0]]
            nothing = torch.zeros_like(theirs[0])
            record = torch.cat([nothing if row < 0 else theirs[row] for row in rows])
    if len(record) != max(sizes[0], 1) * max(sizes[1], 1):
        return None  # another table, which loading the weights makes fit
    return known_pairs(record, *sizes, sie.TABLE == "additive" and min(sizes) > 0)


def fill_from_weights(cfg: CfgNode, stored: Stored) -> None:
    """Fill what a config leaves open, in place, from weights alone, without a look at any data set.

    Raises:
        UserError: a size that neither the config nor the weights tell.
    """
    sie = cfg.MODEL.SIE
    if sie.CAMERA and not cfg.DATASETS.CAMERAS:
        cfg.DATASETS.CAMERAS = stored_cameras(stored)
    cameras = sie.NUM_CAMERAS if sie.CAMERA else 1
    if not cameras and cfg.DATASETS.CAMERAS:
        cameras = CameraTable.parse(cfg.DATASETS.CAMERAS).num_rows
    sizes = stored_sizes(stored, cameras, sie.NUM_VIEWS if sie.VIEW else 1)
    for kind, size in zip(("CAMERA", "VIEW"), sizes, strict=True):
        if sie[kind] and not size:
            raise UserError(
                f"MODEL.SIE.NUM_{kind}S is open, and {cfg.MODEL.WEIGHTS or 'no weights'} does not "
                "tell it; set it as in training"
            )
        if sie[kind]:
            sie[f"NUM_{kind}S"] = size


def stored_cameras(stored: Stored) -> tuple[str, ...]:
    """DATASETS.CAMERAS of a model that was trained here; () for others."""
    text = decode_table(stored["camera_table"]) if "camera_table" in stored else ""
    return tuple(text.split(",")) if text else ()


def stored_sizes(stored: Stored, num_cameras: int, num_views: int) -> tuple[int, int]:
    """Cameras C and viewpoints V of a stored SIE table of C * V rows; 0 is not known, also here.

    Of a table of viewpoints alone C is 1, and likewise V of one of cameras alone.
    """
    if "sie_view" in stored:  # an additive table: a row for each camera, and for each viewpoint
        num_cameras = num_cameras or len(stored["sie_camera"])
        return num_cameras, num_views or len(stored["sie_view"])
    rows = len(stored.get("sie_embed", ()))
    cameras = num_cameras or (num_views and rows // num_views)
    return cameras, num_views or (num_cameras and rows // num_cameras)


def _take_cameras(cfg: CfgNode, stored: Stored) -> None:
    """Set DATASETS.CAMERAS to what a checkpoint says, if it can be told."""
    sie, names = cfg.MODEL.SIE, cfg.DATASETS.NAMES
    cameras = stored_cameras(stored)
    if not cameras and len(names) == 1:  # a released file: rows of its one training set
        size, _ = stored_sizes(stored, sie.NUM_CAMERAS, sie.NUM_VIEWS if sie.VIEW else 1)
        cameras = CameraTable([(names[0], size)]).format() if size else ()
    if cameras:
        logger.info("%s, from %s: %s", KEY, cfg.MODEL.WEIGHTS, ",".join(cameras))
    cfg.DATASETS.CAMERAS = cameras


def _resolve_cameras(cfg: CfgNode, training: Sequence[OpenedSet]) -> CameraTable:
    sie = cfg.MODEL.SIE
    table = table_of(cfg, training)
    if not table.names():
        raise UserError(
            f"MODEL.SIE.CAMERA is on, but no image of the training set "
            f"{', '.join(cfg.DATASETS.NAMES)} has a known camera; set MODEL.SIE.CAMERA False, or "
            f"state the cameras in a file ({FILES_KEY})"
        )
    if table.format() == () and sie.NUM_CAMERAS:  # the one training set is not on this machine
        table = table.resized(sie.NUM_CAMERAS)
    if sie.NUM_CAMERAS == 0:
        sie.NUM_CAMERAS = table.num_rows
        logger.info("MODEL.SIE.NUM_CAMERAS = %d: %s", sie.NUM_CAMERAS, table)
    elif table.num_rows > sie.NUM_CAMERAS:
        raise UserError(
            f"MODEL.SIE.NUM_CAMERAS is {sie.NUM_CAMERAS}, but camera ids go up to "
            f"{table.num_rows - 1} ({table}); set it to {table.num_rows}, or "
            "to 0 to take it from the training set"
        )
    elif len(table.names()) == 1:
        # More rows than the training images show: cameras that only the test set has.
        table = table.resized(sie.NUM_CAMERAS)
    cfg.DATASETS.CAMERAS = table.format()
    return table


def _resolve_views(cfg: CfgNode, training: Sequence[OpenedSet], tests: Sequence[OpenedSet]) -> None:
    sie = cfg.MODEL.SIE
    if training and not any(view >= 0 for opened in training for view in opened.train.views):
        names = ", ".join(repr(opened.dataset_name) for opened in training)
        sources = [opened.viewpoint_source for opened in training if opened.viewpoint_source]
        source = sources[0] if sources else "a method viewpoint(img_path)"
        raise UserError(
            f"MODEL.SIE.VIEW is on, but the data set {names} has no viewpoints; turn it off, state "
            f"them in a file ({FILES_KEY}), or give the data set {source}"
        )
    views = [*(opened.train.views for opened in training), *(opened.test.views for opened in tests)]
    seen = (view + 1 for part in views for view in part)
    needed = max([0, *seen, *(opened.num_views for opened in training)])
    if sie.NUM_VIEWS == 0:
        sie.NUM_VIEWS = needed
        logger.info("MODEL.SIE.NUM_VIEWS = %d, from the data sets", needed)
    elif needed > sie.NUM_VIEWS:
        raise UserError(
            f"MODEL.SIE.NUM_VIEWS is {sie.NUM_VIEWS}, but the data sets have {needed} viewpoints; "
            f"set it to {needed}, or to 0 to take it from the data sets"
        )
