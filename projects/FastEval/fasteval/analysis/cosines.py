"""How alike features are: mean cosines of two images, of one identity and of different ones.

A ranking can be better than chance while all features are nearly alike, as after a collapse
(docs/from-scratch.md). Sums of unit vectors give the means over all pairs without a product of
pairs: for vectors with the sum s, the cosines of all ordered pairs sum up to the squared length of
s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Cosines:
    """Mean cosines, -1..1; None where there is no such pair.

    Attributes:
        same: of two images of one identity, under one camera or two.
        different: of two images of different identities.
    """

    same: float | None
    different: float | None


def mean_cosines(features: np.ndarray, pids: np.ndarray, num_query: int) -> Cosines:
    """Mean cosines of all pairs of the images whose identities have a query; others do not count.

    Args:
        features: (N, D), of any length; zeros have a cosine of 0 with everything.
        pids: (N,) identities, queries first.
        num_query: queries.
    """
    used = np.flatnonzero(np.isin(pids, pids[:num_query]))
    rows = used[np.argsort(pids[used], kind="stable")]
    starts = np.flatnonzero(np.diff(pids[rows])) + 1
    total, own_pairs, own_sum, itself = np.zeros(features.shape[1]), 0, 0.0, 0
    for images in np.split(rows, starts):  # of one identity
        vectors = features[images].astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        summed = vectors.sum(0)
        total += summed
        own_pairs += len(images) ** 2
        own_sum += float(summed @ summed)
        itself += np.count_nonzero(lengths)  # cosines of an image with itself
    different = _mean(float(total @ total) - own_sum, len(rows) ** 2 - own_pairs)
    return Cosines(_mean(own_sum - itself, own_pairs - len(rows)), different)


def _mean(summed: float, pairs: int) -> float | None:
    return summed / pairs if pairs else None
