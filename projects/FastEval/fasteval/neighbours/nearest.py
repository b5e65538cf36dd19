"""The k nearest neighbours of all features among themselves.

On the CPU the product of all features by all features is rounded and made once for both images of
a pair, and what it cannot decide is computed exactly (pruned.py): the neighbours are those of
faiss, which FastReID's re-ranking calls, but for distances that differ in the last bits of a
float32. Few features, many neighbours, and numbers that are not finite, huge or tiny are left to
faiss. On a GPU torch searches.

Letters: N features, D dimensions, k neighbours.
"""

from __future__ import annotations

import numpy as np
from reid_common.progress import shown
from torch import Tensor

from .bounds import Metric, fast_dtype
from .pruned import CLASSES, faiss_search, pruned_search

FEW = 1024  # features that faiss searches as fast
SMALL, LARGE = 1e-6, 1e10  # largest number of features whose squares are float32
BYTES = 4  # of a float32


def nearest(
    features: Tensor,
    k: int,
    metric: Metric,
    block_mb: float = 128,
    known: Tensor | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the neighbours of each feature, itself among them, the nearest first.

    Args:
        features: (N, D) float32.
        k: neighbours of each, at most N.
        metric: "euclidean" (squared distances, ascending) or "inner_product" (descending).
        block_mb: megabytes of a block of distances, on a GPU.
        known: (Q, N - Q) float32, for any Q: products of the first Q features and the others, if
            they are there already. The search on the CPU does not make them again.

    Returns:
        Distances or products (N, k) float32, and indices (N, k) int64. Of equal distances
        the first in the data base; of equal products, and on a GPU, any.

    Raises:
        ValueError: k is not in 1..N.
    """
    if not 1 <= k <= len(features):
        raise ValueError(f"k={k} neighbours of {len(features)} features")
    if features.device.type != "cpu":
        return _torch_search(features, k, metric, block_mb)
    moderate = SMALL < float(features.abs().max()) < LARGE
    if len(features) < FEW or k > CLASSES // 2 or not moderate:
        return faiss_search(features.numpy(), features.numpy(), k, metric)
    return pruned_search(features, k, metric, fast_dtype(), known)


def _torch_search(
    features: Tensor, k: int, metric: Metric, block_mb: float
) -> tuple[np.ndarray, np.ndarray]:
    values = np.empty((len(features), k), np.float32)
    indices = np.empty((len(features), k), np.int64)
    squares = features.square().sum(1)
    size = max(1, int(block_mb * 2**20 / (BYTES * len(features))))
    for start in shown(range(0, len(features), size), "neighbours"):
        rows = slice(start, start + size)
        scores = features[rows] @ features.t()
        if metric == "euclidean":
            # -|q - x|^2 but for |q|^2, which is the same in the whole row
            scores.mul_(2).sub_(squares)
        best, order = scores.topk(k, dim=1)
        if metric == "euclidean":
            best = (squares[rows, None] - best).clamp_(min=0)
        values[rows], indices[rows] = best.cpu().numpy(), order.cpu().numpy()
    return values, indices
