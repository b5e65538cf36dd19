"""Which images a selection by score keeps: those of the highest score, as Algorithm 1 of the paper.

Luo et al., "Self-Supervised Pre-Training for Transformer-Based Person Re-Identification",
arXiv 2111.12084: the images are sorted by score, and the N' first make D'_s. What the paper leaves
open is fixed here, so that one input has one result on every machine: equal scores are sorted by
path, by the bytes of its UTF-8; images without a score (NaN) are never kept; a fraction counts from
the images that have a score and is rounded to the nearest number, halves up (of LUPerson's
4,180,243 images 0.5 keeps 2,090,122 and 0.6 keeps 2,508,146, the authors' numbers).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
from dinopretrain.data.path_list import PathList
from reid_common.errors import UserError


def select(
    paths: Sequence[str] | PathList,
    scores: np.ndarray,
    keep: float | None = None,
    keep_num: int | None = None,
) -> np.ndarray:
    """Choose the images of the highest score.

    Args:
        paths: name of each image, N of them; they are looked at where scores are equal.
        scores: (N,), any real type; NaN where an image has none.
        keep: fraction of the images with a score, 0..1; with neither it nor ``keep_num`` all.
        keep_num: number of images; of fewer, all are kept.

    Returns:
        (K,) int64: indices, best first.

    Raises:
        UserError: see :func:`check_keep`.
        ValueError: ``paths`` and ``scores`` of different lengths.
    """
    check_keep(keep, keep_num)
    names = paths if isinstance(paths, PathList) else PathList.from_iterable(paths)
    scores = np.asarray(scores)
    if scores.shape != (len(paths),):
        raise ValueError(f"{len(paths)} paths, but scores of shape {scores.shape}")
    scored = np.flatnonzero(~np.isnan(scores))
    count = number_kept(len(scored), keep, keep_num)
    order = scored[np.argsort(-scores[scored], kind="stable")]
    ranked = scores[order]
    # Where runs of equal scores begin and end; only those that reach into the selection matter.
    borders = np.flatnonzero(ranked[1:] != ranked[:-1]) + 1
    starts, stops = np.r_[0, borders], np.r_[borders, len(ranked)]
    ties = (stops - starts > 1) & (starts < count)
    # Elements of a memoryview are read ten times as fast as those of a tensor.
    data, offsets = names.data.numpy().data, names.offsets.numpy().data

    def raw(index: int) -> bytes:
        return bytes(data[offsets[index] : offsets[index + 1]])

    for start, stop in zip(starts[ties].tolist(), stops[ties].tolist(), strict=True):
        order[start:stop] = sorted(order[start:stop].tolist(), key=raw)
    return order[:count]


def check_keep(keep: Any, keep_num: Any) -> None:
    """Raise UserError unless at most one is given: a fraction 0..1, or a whole number from 0."""
    if keep is not None and keep_num is not None:
        raise UserError(f"keep {keep} and keep_num {keep_num} are given; leave one of them out")
    if keep is not None and (
        isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 <= keep <= 1
    ):
        raise UserError(f"keep is {keep!r}; write a fraction from 0 to 1, as in 0.5 for one half")
    if keep_num is not None and (
        isinstance(keep_num, bool) or not isinstance(keep_num, int) or keep_num < 0
    ):
        raise UserError(f"keep_num is {keep_num!r}; write a number of images, as in 2508146")


def number_kept(count: int, keep: float | None = None, keep_num: int | None = None) -> int:
    """How many of ``count`` images are kept; see :func:`select`."""
    if keep_num is not None:
        return min(keep_num, count)
    if keep is None:
        return count
    # In decimals, so that 0.29 of 50 is 14.5 and not the binary 14.499999999999998.
    return int((Decimal(repr(keep)) * count).to_integral_value(ROUND_HALF_UP))
