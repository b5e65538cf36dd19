"""What training sets call: the first process filters, all get what it keeps."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch.distributed as dist
from dinopretrain.data.images import FileImages, UnlabelledImages
from dinopretrain.data.path_list import PathList
from fastreid.config import CfgNode
from fastreid.utils import comm
from reid_common.errors import UserError
from reid_common.left_out import MOST, check_left_out
from reid_core.config.fastreid_keys import IDENTITY_SAMPLERS
from reid_core.data.filter_hook import KEY, ItemFilters

from .base import UNREADABLE
from .chain import run_filters
from .registry import build_filters
from .report import EXAMPLES

logger = logging.getLogger(__name__)

CACHE = "filter_cache"
LONGEST = timedelta(days=30)  # millions of images on a slow disk take longer than torch waits


def check(cfg: CfgNode) -> None:
    """Raise UserError for filters of the config that cannot be built."""
    build_filters(cfg.DATASETS.FILTERS)


def choose(cfg: CfgNode, images: Any, identities: Sequence[Any] | None = None) -> np.ndarray:
    """Apply the filters of a config; see :class:`reid_core.data.filter_hook.ItemFilters`.

    Args:
        cfg: reads DATASETS, OUTPUT_DIR, SOLVER and DATALOADER.
        images: paths, or any :class:`~dinopretrain.data.images.UnlabelledImages`.
        identities: of the images, None for images without labels.

    Raises:
        UserError: in all processes: a filter is wrong, or leaves too little.
    """
    if not isinstance(images, UnlabelledImages):
        images = FileImages(PathList.from_iterable(images))

    def filtered() -> tuple[np.ndarray, int]:
        cache = cfg.DATASETS.get("FILTER_CACHE", "") or os.path.join(cfg.OUTPUT_DIR, CACHE)
        kept, done = run_filters(cfg.DATASETS.FILTERS, images, cache, cfg.OUTPUT_DIR)
        _check_remaining(cfg, kept, done, identities)
        return kept, len(images)

    kept, count = _from_first_process(filtered)
    if count != len(images):
        raise UserError(
            f"process 0 sees {count} training images, process {comm.get_rank()} {len(images)}; "
            "all machines must have the same data sets"
        )
    return kept


def _from_first_process(function: Callable[[], Any]) -> Any:
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


def _check_remaining(
    cfg: CfgNode,
    kept: np.ndarray,
    done: Sequence[Mapping[str, Any]],
    identities: Sequence[Any] | None,
) -> None:
    """Check that a training set is left; ``done`` is what each filter did.

    Raises:
        UserError: too many images cannot be read, fewer are left than a batch, or of no identity
            as many as a batch draws of each.
    """
    unreadable = {
        f"{UNREADABLE}, such as {reason['examples'][0]['image']}": reason["images"]
        for one in done
        for reason in one["dropped"]
        if reason["reason"] == UNREADABLE
    }
    if sum(unreadable.values()) < done[0]["images"]:  # else the message below says more
        remedy = "Copy the data set again; DATASETS.MAX_UNREADABLE allows a greater share"
        most = cfg.DATASETS.get("MAX_UNREADABLE", MOST)
        check_left_out(done[0]["images"], unreadable, "training images", most, remedy)
    batch = cfg.SOLVER.IMS_PER_BATCH
    if len(kept) < batch:
        left = f"only {len(kept)}" if len(kept) else "none"
        reasons = "; ".join(
            f"{one['filter']} drops {reason['images']} ({reason['reason']})"
            for one in done
            for reason in one["dropped"]
        )
        raise UserError(
            f"{KEY} leaves {left} of the {done[0]['images']} training images, and a batch has "
            f"SOLVER.IMS_PER_BATCH = {batch}: {reasons}. Loosen the filters, or use a larger set"
        )
    if identities is not None and cfg.DATALOADER.SAMPLER_TRAIN in IDENTITY_SAMPLERS:
        _check_identities(cfg.DATALOADER.NUM_INSTANCE, kept, identities)


def _check_identities(needed: int, kept: np.ndarray, identities: Sequence[Any]) -> None:
    before = Counter(identities)
    after = Counter(identities[index] for index in kept)
    logger.info("Data filters keep %d of %d identities", len(after), len(before))
    few = [identity for identity, count in after.items() if count < needed <= before[identity]]
    if max(after.values()) < needed and few:
        identity, count = after.most_common(1)[0]
        raise UserError(
            f"{KEY} leaves no identity DATALOADER.NUM_INSTANCE = {needed} images, which a batch "
            f"takes of each ({identity} has the most, {count}); loosen the filters, or set "
            f"DATALOADER.NUM_INSTANCE to at most {count}"
        )
    if few:
        logger.warning(
            "The filters leave %d of the %d identities fewer than DATALOADER.NUM_INSTANCE = %d "
            "images (such as %s): FastReID's samplers draw some of their images twice",
            len(few),
            len(after),
            needed,
            ", ".join(map(str, few[:EXAMPLES])),
        )


FILTERS = ItemFilters(check, choose)
