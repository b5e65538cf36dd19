"""Which images of a training set are trained on: a hook that a project fills.

The key DATASETS.FILTERS lists data filters. They live in the project CFS, above this one; it
registers here what checks the key and what applies it, and every training set asks here, those with
labels before identities are numbered, those without before their loader is made. An empty list
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from fastreid.config import CfgNode
from reid_common.errors import UserError

KEY = "DATASETS.FILTERS"


class ItemFilters(NamedTuple):
    """What a project registers.

    Attributes:
        check: (cfg) -> None; raises UserError for a wrong list, without looking at the data.
        choose: (cfg, images, identities) -> (K,) int64, ascending indices of the images to train
            on, the same in all processes, which call it together. ``images`` are all of
            DATASETS.NAMES: paths, or what a project has instead; ``identities`` are theirs, None
            for images without labels.
    """

    check: Callable[[CfgNode], None]
    choose: Callable[[CfgNode, Any, Sequence[Any] | None], np.ndarray]


REGISTERED: list[ItemFilters] = []


def has_filters(cfg: CfgNode) -> bool:
    """Whether the config names any filter."""
    return bool(cfg.DATASETS.get("FILTERS", ()))


def check_filters(cfg: CfgNode) -> None:
    """Raise UserError for filters that cannot work, or that no imported project knows."""
    if not has_filters(cfg):
        return
    if not REGISTERED:
        raise UserError(
            f"{KEY} names data filters, which the project CFS has: import cfs before the config is "
            f"used, or leave {KEY} empty"
        )
    for filters in REGISTERED:
        filters.check(cfg)


def chosen_items(
    cfg: CfgNode, images: Any, identities: Sequence[Any] | None = None
) -> np.ndarray | None:
    """What :class:`ItemFilters` choose, ascending indices; None where there are no filters.

    Raises:
        UserError: see :func:`check_filters`; or the filters leave too little to train on.
    """
    if not has_filters(cfg):
        return None
    check_filters(cfg)
    return REGISTERED[0].choose(cfg, images, identities)
