"""Sizes of the SIE table that a config leaves open, and whether the data fit it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from fastreid.config import CfgNode
from fastreid.utils.checkpoint import Checkpointer
from fastreid_compat.cameras import KEY, CameraTable, camera_table, dataset_name, raw_cameras
from fastreid_compat.dataset_files import MissingDataset, open_dataset
from fastreid_compat.errors import UserError
from torch import Tensor, nn

from .side_information import decode_table

logger = logging.getLogger(__name__)

PREFIX = "backbone.sie."


def resolve_side_information(cfg: CfgNode, from_weights: bool = False) -> None:
    """Fill MODEL.SIE.NUM_CAMERAS, MODEL.SIE.NUM_VIEWS and DATASETS.CAMERAS where they are open.

    Call it after the config is merged and before it is frozen; the tools do. Nothing happens unless
    MODEL.SIE.CAMERA or MODEL.SIE.VIEW is on.

    Args:
        cfg: changed in place.
        from_weights: evaluation of MODEL.WEIGHTS: sizes, and which camera a row stands for, are
            what the checkpoint says, whatever data sets are on this machine.

    Raises:
        UserError: a size is too small for the cameras or viewpoints of the data sets, cannot be
            found out, or a test camera has no row because training does not have it.
    """
    sie = cfg.MODEL.SIE
    if not (sie.CAMERA or sie.VIEW):
        return
    if not cfg.DATASETS.NAMES:
        raise UserError("DATASETS.NAMES is empty; name the training set, whose cameras SIE embeds")
    stored = _stored_sie(cfg.MODEL.WEIGHTS) if from_weights and cfg.MODEL.WEIGHTS else {}
    if sie.CAMERA:
        _resolve_cameras(cfg, stored)
    if sie.VIEW:
        _resolve_views(cfg, stored)


def _resolve_cameras(cfg: CfgNode, stored: dict[str, Tensor]) -> None:
    sie = cfg.MODEL.SIE
    if not cfg.DATASETS.CAMERAS and "camera_table" in stored:
        text = decode_table(stored["camera_table"])
        cfg.DATASETS.CAMERAS = tuple(text.split(",")) if text else ()
        logger.info("%s, from %s: %s", KEY, cfg.MODEL.WEIGHTS, text)
    table = camera_table(cfg)
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
    for name, _, items in _test_sets(cfg):
        cameras = raw_cameras(dataset_name(name), [item[2] for item in items])
        unknown = sorted({c for c in cameras if table.row(dataset_name(name), c) < 0})
        if unknown:
            raise UserError(
                f"the test set {name} has cameras {unknown} (0-based) that are not in the table of "
                f"training cameras, {', '.join(table.format())}: the SIE has no row for them. "
                f"Leave {name} out of DATASETS.TESTS, raise MODEL.SIE.NUM_CAMERAS if it is the "
                "same data set, or set MODEL.SIE.CAMERA False"
            )
    cfg.DATASETS.CAMERAS = table.format()


def _resolve_views(cfg: CfgNode, stored: dict[str, Tensor]) -> None:
    sie = cfg.MODEL.SIE
    if sie.NUM_VIEWS == 0 and "sie_embed" in stored:
        sie.NUM_VIEWS = len(stored["sie_embed"]) // (sie.NUM_CAMERAS if sie.CAMERA else 1)
    needed = 0
    training = _training_sets(cfg, missing_is_an_error=sie.NUM_VIEWS == 0)
    for name, data, items in chain(training, _test_sets(cfg)):
        if not hasattr(data, "viewpoint"):
            raise UserError(
                f"MODEL.SIE.VIEW is on, but the data set {dataset_name(name)!r} has no viewpoints; "
                "turn it off, or give the data set a method viewpoint(img_path) -> 0-based id"
            )
        highest = max((data.viewpoint(item[0]) for item in items), default=-1)
        needed = max(needed, highest + 1, getattr(data, "num_views", 0))
    if sie.NUM_VIEWS == 0:
        sie.NUM_VIEWS = needed
        logger.info("MODEL.SIE.NUM_VIEWS = %d, from the data sets", needed)
    elif needed > sie.NUM_VIEWS:
        raise UserError(
            f"MODEL.SIE.NUM_VIEWS is {sie.NUM_VIEWS}, but the data sets have {needed} viewpoints; "
            f"set it to {needed}, or to 0 to take it from the data sets"
        )


Opened = Iterator[tuple[str, Any, Sequence[Sequence[Any]]]]  # name, data set, its images


def _training_sets(cfg: CfgNode, missing_is_an_error: bool) -> Opened:
    for name in cfg.DATASETS.NAMES:
        try:
            data = open_dataset(name, combineall=cfg.DATASETS.COMBINEALL)
        except MissingDataset:
            if missing_is_an_error:
                raise
        else:
            yield name, data, data.train


def _test_sets(cfg: CfgNode) -> Opened:
    for name in dict.fromkeys(cfg.DATASETS.TESTS):
        try:
            data = open_dataset(name)
        except MissingDataset:
            continue  # whoever tests on it is told so by the loader
        yield name, data, [*data.query, *data.gallery]


def _stored_sie(path: str) -> dict[str, Tensor]:
    """SIE tensors of a checkpoint; empty for one without, such as a released one."""
    if not os.path.isfile(path):
        raise UserError(f"MODEL.WEIGHTS: {path!r} does not exist")
    state = Checkpointer(nn.Identity())._load_file(path)
    state = state.get("model", state)
    return {key[len(PREFIX) :]: state[key] for key in state if key.startswith(PREFIX)}
