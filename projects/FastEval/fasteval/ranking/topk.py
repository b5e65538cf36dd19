"""The first K gallery images of each query, as the protocol ranks them: what results files hold.

Letters: Q queries, G gallery images, b queries of a block, K images of a query.
"""

from __future__ import annotations

import numpy as np

from .metrics import Pairs

GROUP_SIZE = 64


def nearest_kept(dist: np.ndarray, pairs: Pairs, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rank the gallery images that count for each query of a block.

    Args:
        dist: (b, G) distances without NaN, smaller is closer.
        pairs: those of the block; the junk among them is left out.
        k: K.

    Returns:
        Positions in the gallery (b, K) int64, nearest first, equal distances in the gallery's
        order; and the distances (b, K) float32. -1 and infinity where a query keeps fewer than K.
    """
    indices = np.full((len(dist), k), -1)
    distances = np.full((len(dist), k), np.inf, np.float32)
    junk_rows, junk_columns = pairs.rows[pairs.junk], pairs.columns[pairs.junk]
    bounds = np.searchsorted(junk_rows, np.arange(len(dist) + 1))
    for number, whole in enumerate(dist):
        junk = junk_columns[bounds[number] : bounds[number + 1]]
        row = whole.copy()
        row[junk] = np.inf
        limit = _upper_bound(row, k)
        near = np.flatnonzero(row <= limit)
        if np.isinf(limit):
            near = np.setdiff1d(near, junk)
        near = near[np.argsort(row[near], kind="stable")][:k]
        indices[number, : len(near)], distances[number, : len(near)] = near, row[near]
    return indices, distances


def _upper_bound(row: np.ndarray, k: int) -> float:
    """A distance within which there are at least ``k`` images, and few more.

    The k-th smallest of the minima of groups is one: k images are as near. Minima take a pass at
    the speed of memory, where a partition of the row takes nine times as long.
    """
    num_groups = len(row) // GROUP_SIZE
    if num_groups < k:
        return np.inf
    groups = row[: num_groups * GROUP_SIZE].reshape(GROUP_SIZE, num_groups)
    return np.partition(groups.min(axis=0), k - 1)[k - 1]
