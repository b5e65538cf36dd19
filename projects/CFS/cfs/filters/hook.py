"""What training sets call: the first process filters, all get what it keeps."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch.distributed as dist
from dinopretrain.data.images import FileImages, UnlabelledImages
from dinopretrain.data.path_list import PathList
from fastreid.config import CfgNode
from fastreid.utils import comm
from reid_common.errors import UserError
from reid_core.data.filter_hook import ItemFilters

from .chain import run_filters
from .registry import build_filters
from .remaining import check_remaining

CACHE = "filter_cache"
LONGEST = timedelta(days=30)  # millions of images on a slow disk take longer than torch waits


def check(cfg: CfgNode) -> None:
    """Raise UserError for filters of the config that cannot be built."""
    build_filters(cfg.DATASETS.FILTERS)


def choose(cfg: CfgNode, images: Any, identities: Sequence[Any] | None = None) -> np.ndarray:
    """Apply the filters of a config; see :class:`reid_core.data.filter_hook.ItemFilters`.

    Args:
        cfg: reads DATASETS.FILTERS, DATASETS.FILTER_CACHE, OUTPUT_DIR, SOLVER and DATALOADER.
        images: paths, or any :class:`~dinopretrain.data.images.UnlabelledImages`.
        identities: of the images, None for images without labels.

    Returns:
        (K,) int64: indices of the images that are kept, ascending.

    Raises:
        UserError: in all processes: a filter is wrong, or leaves too little.
    """
    if not isinstance(images, UnlabelledImages):
        images = FileImages(PathList.from_iterable(images))

    def filtered() -> tuple[np.ndarray, int]:
        cache = cfg.DATASETS.get("FILTER_CACHE", "") or os.path.join(cfg.OUTPUT_DIR, CACHE)
        kept, done = run_filters(cfg.DATASETS.FILTERS, images, cache, cfg.OUTPUT_DIR)
        check_remaining(cfg, kept, done, identities)
        return kept, len(images)

    kept, count = from_first_process(filtered)
    if count != len(images):
        raise UserError(
            f"process 0 sees {count} training images, process {comm.get_rank()} {len(images)}; "
            "all machines must have the same data sets"
        )
    return kept


def from_first_process(function: Callable[[], Any]) -> Any:
    """Call a function in the first process only; its result, or its error, is that of all."""
    if comm.get_world_size() == 1:
        return function()
    group: Any = dist.new_group(backend="gloo", timeout=LONGEST)
    outcome: list[Any] = [None, None]  # result, error
    failure: Exception | None = None
    if comm.is_main_process():
        try:
            outcome[0] = function()
        except Exception as error:  # whatever it is, the others must not wait for ever
            failure, outcome[1] = error, str(error) or type(error).__name__
    dist.broadcast_object_list(outcome, src=0, group=group)
    dist.destroy_process_group(group)
    if failure is not None:
        raise failure
    if outcome[1] is not None:
        raise UserError(outcome[1])
    return outcome[0]


FILTERS = ItemFilters(check, choose)
