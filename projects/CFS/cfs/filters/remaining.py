"""Whether filters leave a set that can be trained on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.config.fastreid_keys import IDENTITY_SAMPLERS
from reid_core.data.filter_hook import KEY

from .report import EXAMPLES

logger = logging.getLogger(__name__)


def check_remaining(
    cfg: CfgNode,
    kept: np.ndarray,
    done: Sequence[Mapping[str, Any]],
    identities: Sequence[Any] | None,
) -> None:
    """Check that a training set is left.

    Args:
        cfg: reads SOLVER.IMS_PER_BATCH and DATALOADER.
        kept: indices of the images that are left.
        done: what each filter did, see :func:`cfs.filters.chain.run_filters`.
        identities: of all images; None: there are none.

    Raises:
        UserError: fewer images than a batch, or of no identity as many as a batch draws of each.
    """
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
