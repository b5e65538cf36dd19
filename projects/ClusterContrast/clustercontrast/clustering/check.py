"""Pseudo labels that nothing can be learnt from, and what to change."""

from __future__ import annotations

import numpy as np
from reid_common.errors import UserError

from .quality import sizes

LARGER = "Raise CLUSTER.EPS"
SMALLER = "Lower CLUSTER.EPS"
AUTO_HINT = "CLUSTER.EPS auto shows how many clusters each eps gives"


def check_labels(labels: np.ndarray, eps: float, max_outliers: float) -> None:
    """Look at the pseudo labels (N,) of an epoch.

    Args:
        labels: -1 for outliers.
        eps: that they were made with.
        max_outliers: greatest share of outliers, 0..1.

    Raises:
        UserError: no cluster, one cluster, or mostly outliers: which, and what to change.
    """
    found, outliers = sizes(labels), float((labels < 0).mean())
    state = f"of {len(labels)} images, {100 * outliers:.1f}% outliers, at eps {eps:g}"
    if len(found) == 0:
        raise UserError(
            f"no cluster {state}: no image has enough near neighbours. {LARGER}, lower "
            f"CLUSTER.MIN_SAMPLES, or start from weights that know persons (MODEL.BACKBONE."
            f"PRETRAIN_PATH). {AUTO_HINT}"
        )
    if len(found) == 1:
        raise UserError(
            f"one cluster {state}: nothing tells its images apart. {SMALLER}; if all images are "
            "near one another whatever it is, the features have collapsed (lower SOLVER.BASE_LR, "
            f"or start from other weights), or the images are copies of one. {AUTO_HINT}"
        )
    if outliers > max_outliers:
        raise UserError(
            f"{len(found)} clusters {state}, more than CLUSTER.MAX_OUTLIERS {max_outliers:g}: most "
            f"images are not learnt from. {LARGER}, lower CLUSTER.MIN_SAMPLES, or start from "
            f"better weights; CLUSTER.MAX_OUTLIERS 1 goes on. {AUTO_HINT}"
        )
