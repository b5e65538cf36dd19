"""What images of a data set are unknown to an SIE table, told before a run."""

from __future__ import annotations

import logging

import torch
from fastreid.config import CfgNode
from reid_common.errors import UserError
from torch import Tensor

from ..data.opened_sets import Split
from .rows import CameraTable, raw_cameras

logger = logging.getLogger(__name__)


def check_unknown(
    cfg: CfgNode,
    table: CameraTable | None,
    known: Tensor | None,
    what: str,
    name: str,
    images: Split,
) -> None:
    """Log or refuse the images of a data set whose camera or viewpoint has no trained row.

    Args:
        cfg: config, with the sizes of the table.
        table: None where cameras are not embedded.
        known: pairs of a camera and a viewpoint that are trained, (C, V) bool; None: all are.
        what: "the test set Market1501".
        name: its ``dataset_name``.
        images: its images.

    Raises:
        UserError: there are some, and MODEL.SIE.UNKNOWN is "error".
    """
    sie = cfg.MODEL.SIE
    if not len(images):
        return
    if known is None:
        known = torch.ones(
            max(sie.NUM_CAMERAS if table else 1, 1), max(sie.NUM_VIEWS if sie.VIEW else 1, 1)
        ).bool()
    parts, unseen = [], torch.zeros(len(images)).bool()
    rows = views = torch.zeros(len(images)).long()  # an axis that is not embedded has one place
    if table:
        numbers = raw_cameras(name, images.cameras)
        rows = torch.tensor([-1 if n < 0 else table.row(name, n) for n in numbers])
        cameras = torch.tensor(numbers)
        parts += _lacking("cameras", f"are not among {table}", cameras[(rows < 0) & (cameras >= 0)])
        parts += _without("camera", cameras)
        unseen |= rows < 0
    if sie.VIEW:
        views = torch.tensor(images.views)
        parts += _without("viewpoint", views)
        unseen |= views < 0
    for kind, axis, ids, names in (
        ("cameras", 1, rows, cameras if table else rows),
        ("viewpoints", 0, views, views),
    ):
        untrained = (ids >= 0) & ~known.any(axis)[ids.clamp(min=0)]
        parts += _lacking(kind, "no training image has", names[untrained])
        unseen |= untrained
    apart = ~unseen & ~known[rows.clamp(min=0), views.clamp(min=0)]
    if apart.any():
        parts.append(f"{int(apart.sum())} images of a camera and viewpoint that never met before")
    _tell(cfg, what, parts, int((unseen | apart).sum()), len(images), prepared=not table)


def _lacking(kind: str, why: str, numbers: Tensor) -> list[str]:
    found = sorted({*numbers.tolist()})
    return [f"{kind} {found} (0-based) that {why}"] if found else []


def _without(kind: str, numbers: Tensor) -> list[str]:
    count = int((numbers < 0).sum())
    return [f"{count} images without a {kind}"] if count else []


def _tell(
    cfg: CfgNode, what: str, parts: list[str], unknown: int, count: int, prepared: bool
) -> None:
    if not parts:
        return
    found, policy = f"{what} has {', '.join(parts)}", cfg.MODEL.SIE.UNKNOWN
    if policy == "error":
        raise UserError(
            f"{found}: the SIE has no trained row for them, and MODEL.SIE.UNKNOWN is error. Set "
            f"that to mean or zero, leave {what} out, or set MODEL.SIE.CAMERA or VIEW False"
        )
    # A model that has always been told the camera does badly without (tools/unknown_cameras.py).
    prepared = prepared or cfg.MODEL.SIE.CAMERA_DROPOUT > 0
    hint = (
        "" if prepared else "; training with MODEL.SIE.CAMERA_DROPOUT, say 0.3, prepares for that"
    )
    logger.info(
        f"{found}: to the SIE {unknown} of {count} images are unknown, "
        f"MODEL.SIE.UNKNOWN is {policy}{hint}"
    )
