"""Data sets of a config, with the cameras and viewpoints that its files state."""

from __future__ import annotations

from typing import Any

from fastreid.config import CfgNode

from ..data.opened_sets import OpenedSet, opened_set
from ..data.opening import MissingDataset
from .label_files import labelled
from .rows import CameraTable, table_of


def open_labelled(cfg: CfgNode, name: str, **kwargs: Any) -> OpenedSet:
    """Open a data set with the labels of DATASETS.SIDE_INFORMATION.

    Args:
        cfg: reads DATASETS.SIDE_INFORMATION.
        name: of the data set, as in DATASETS.NAMES.
        **kwargs: of :func:`~reid_core.data.opened_sets.opened_set`.

    Raises:
        UserError: a file is missing or wrong; what ``opened_set`` raises.
    """
    return labelled(opened_set(name, **kwargs), tuple(cfg.DATASETS.get("SIDE_INFORMATION", ())))


def training_sets(cfg: CfgNode) -> list[OpenedSet]:
    """Open DATASETS.NAMES; one that is not on this machine has no images, and says why."""
    combineall = bool(cfg.DATASETS.COMBINEALL)
    return [_open_or_miss(cfg, name, combineall=combineall) for name in cfg.DATASETS.NAMES]


def test_sets(cfg: CfgNode) -> list[OpenedSet]:
    """Open DATASETS.TESTS, each once; likewise."""
    return [_open_or_miss(cfg, name) for name in dict.fromkeys(cfg.DATASETS.TESTS)]


def _open_or_miss(cfg: CfgNode, name: str, **kwargs: Any) -> OpenedSet:
    try:
        return open_labelled(cfg, name, **kwargs)
    except MissingDataset as error:
        return OpenedSet(name, None, error)


def camera_table(cfg: CfgNode) -> CameraTable:
    """Return the camera table of a config, the same for training and testing.

    See :func:`.rows.table_of`; no data set is opened where DATASETS.CAMERAS is given.
    """
    return table_of(cfg, [] if cfg.DATASETS.CAMERAS else training_sets(cfg))
