"""Sizes of the SIE table that a config leaves open, from the training set or from a checkpoint."""

from __future__ import annotations

import logging
import os

from fastreid.config import CfgNode
from fastreid_compat.cameras import KEY, CameraTable, camera_table, dataset_name
from fastreid_compat.dataset_files import open_dataset
from fastreid_compat.errors import UserError

from .side_information import decode_table

logger = logging.getLogger(__name__)

TABLE_KEY = "backbone.sie.camera_table"


def resolve_side_information(cfg: CfgNode, from_weights: bool = False) -> None:
    """Fill MODEL.SIE.NUM_CAMERAS, MODEL.SIE.NUM_VIEWS and DATASETS.CAMERAS where they are open.

    Call it after the config is merged and before it is frozen; the tools do. Nothing happens unless
    MODEL.SIE.CAMERA or MODEL.SIE.VIEW is on.

    Args:
        cfg: changed in place.
        from_weights: evaluation of MODEL.WEIGHTS: which camera a row stands for is what the
            checkpoint says, whatever data sets are on this machine.

    Raises:
        UserError: a size is too small for the cameras or viewpoints of the training set, or can not
            be found out.
    """
    sie = cfg.MODEL.SIE
    if sie.CAMERA:
        _resolve_cameras(cfg, from_weights)
    if sie.VIEW and sie.NUM_VIEWS == 0:
        sie.NUM_VIEWS = max(_num_views(cfg, name) for name in cfg.DATASETS.NAMES)
        logger.info("MODEL.SIE.NUM_VIEWS = %d, from the training set", sie.NUM_VIEWS)


def _resolve_cameras(cfg: CfgNode, from_weights: bool) -> None:
    sie = cfg.MODEL.SIE
    if from_weights and not cfg.DATASETS.CAMERAS and cfg.MODEL.WEIGHTS:
        cfg.DATASETS.CAMERAS = _stored_table(cfg.MODEL.WEIGHTS)
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
    cfg.DATASETS.CAMERAS = table.format()


def _stored_table(path: str) -> tuple[str, ...]:
    """DATASETS.CAMERAS as stored in a checkpoint, () if it holds none (a released one)."""
    from fastreid.utils.checkpoint import Checkpointer
    from torch import nn

    if not os.path.isfile(path):
        raise UserError(f"MODEL.WEIGHTS: {path!r} does not exist")
    state = Checkpointer(nn.Identity())._load_file(path)
    state = state.get("model", state)
    if TABLE_KEY not in state:
        return ()
    text = decode_table(state[TABLE_KEY])
    logger.info("%s, from %s: %s", KEY, path, text)
    return tuple(text.split(",")) if text else ()


def _num_views(cfg: CfgNode, name: str) -> int:
    """Viewpoints of a training set: what the data set says, or the highest of its images."""
    data = open_dataset(name, combineall=cfg.DATASETS.COMBINEALL)
    if not hasattr(data, "viewpoint"):
        raise UserError(
            f"MODEL.SIE.VIEW is on, but the data set {dataset_name(name)!r} has no viewpoints; "
            "turn it off, or give the data set a method viewpoint(img_path) -> 0-based id"
        )
    known = getattr(data, "num_views", None)
    return known or 1 + max(data.viewpoint(item[0]) for item in data.train)
