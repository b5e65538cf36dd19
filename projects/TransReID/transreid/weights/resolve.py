"""Sizes of the SIE table that a config leaves open, from data sets or from a checkpoint."""

from __future__ import annotations

import os

from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.side_information import resolve

from .formats import State, read_weights, stored_side_information


def resolve_side_information(cfg: CfgNode, from_weights: bool = False) -> None:
    """Fill MODEL.SIE.NUM_CAMERAS, MODEL.SIE.NUM_VIEWS and DATASETS.CAMERAS where they are open.

    See :func:`reid_core.side_information.resolve.resolve_side_information`.

    Args:
        cfg: changed in place.
        from_weights: evaluation of MODEL.WEIGHTS: sizes, and which camera a row stands for, are
            what the checkpoint says, whatever data sets are on this machine.

    Raises:
        UserError: see there; MODEL.WEIGHTS does not exist or is no checkpoint.
    """
    sie = cfg.MODEL.SIE
    reads = from_weights and (sie.CAMERA or sie.VIEW)
    resolve.resolve_side_information(cfg, _stored(cfg.MODEL.WEIGHTS) if reads else None)


def _stored(path: str) -> State:
    if path and not os.path.isfile(path):
        raise UserError(f"MODEL.WEIGHTS: {path!r} does not exist")
    return stored_side_information(read_weights(path).state) if path else {}
