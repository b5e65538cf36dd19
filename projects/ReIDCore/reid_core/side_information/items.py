"""Cameras and viewpoints of a data set's items, as the loaders hand them out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..data.names import dataset_name
from .label_files import UNKNOWN
from .rows import FIRST_WITHOUT_CAMERA, KEY, NO_CAMERA, CameraTable, camera_rows

logger = logging.getLogger(__name__)

Item = Sequence[Any]  # (img_path, pid, camid)


def rows_of_items(
    table: CameraTable, registered: str, items: Sequence[Item], start: int = 0
) -> list[int]:
    """Return the camera row of each item, see :func:`.rows.camera_rows`.

    Args:
        table: of the model.
        registered: name of the data set, as in DATASETS.NAMES.
        items: all that are loaded of it.
        start: index of the first of them among all items that are loaded together.
    """
    return camera_rows(table, dataset_name(registered), [item[2] for item in items], start)


def views_of_items(data: Any, items: Sequence[Item]) -> list[int]:
    """Return the viewpoint of each item, 0-based, by the data set's ``viewpoint``; -1: unknown."""
    viewpoint = getattr(data, "viewpoint", None)
    if viewpoint is None:
        return [UNKNOWN] * len(items)
    return [int(viewpoint(item[0])) for item in items]


def sortable_items(items: Sequence[Item]) -> list[Item]:
    """Return the items with -1 in the place of None as camera: FastReID sorts all cameras."""
    return [item if item[2] is not None else (*item[:2], _no_camera(item)) for item in items]


def _no_camera(item: Item) -> str | int:
    # In training FastReID's cameras are texts, as its identities are.
    return str(NO_CAMERA) if isinstance(item[1], str) else NO_CAMERA


def report_unknown(rows: Sequence[int], table: CameraTable) -> None:
    """Warn of training images whose camera is not known, or not in the table."""
    without = sum(row <= FIRST_WITHOUT_CAMERA for row in rows)
    lacking = sum(row < 0 for row in rows) - without
    if without:
        logger.warning("%d of the %d training images have no camera", without, len(rows))
    if lacking:
        known = ", ".join(table.format())
        logger.warning("%s (%s) lacks cameras of %d training images", KEY, known, lacking)
