"""Jaccard distances of all images against all, of which only small ones are kept.

The distances are those of :class:`.jaccard.JaccardDistances`, d = 1 - s / (2 - s) with s the weight
that two images share. What is above a limit is never stored, so that memory is linear in the number
of pairs below it; a dense matrix of 32,621 images has 4.3 GB.

Letters: N images, D dimensions, P pairs that are kept.
"""

from __future__ import annotations

import numpy as np
from reid_common.progress import shown
from scipy import sparse
from torch import Tensor

from .jaccard import encoded_neighbours, shared_weights

ROWS_AT_ONCE = 1024


def close_pairs(
    features: Tensor, limit: float, k1: int = 30, k2: int = 6, block_mb: float = 128
) -> sparse.csr_array:
    """Return the Jaccard distances of all images (N, N) float32 that are at most ``limit``.

    Zeros are stored, so that a stored entry is a pair: the diagonal is always there. Columns of a
    row ascend.

    Args:
        features: (N, D) float32.
        limit: greatest distance that is kept, 0..1; 1 keeps all that share a neighbour.
        k1: see :class:`.jaccard.JaccardDistances`.
        k2: likewise; 1 = no local query expansion.
        block_mb: megabytes of a block of distances, on a GPU.
    """
    weights = encoded_neighbours(features, k1, k2, block_mb).astype(np.float32)
    count = weights.shape[0]
    inverted = weights.T.tocsr()
    columns, distances = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    sizes = np.zeros(count + 1, np.int64)
    least = 2 * (1 - limit) / (2 - limit) - 1e-6  # s of a pair at the limit, but for rounding
    for start in shown(range(0, count, ROWS_AT_ONCE), "distances"):
        stop = min(start + ROWS_AT_ONCE, count)
        block = []
        for row, common in enumerate(shared_weights(weights, inverted, start, stop), start):
            common[row] = 1  # the image itself, whatever rounding and an empty set make of it
            others = np.flatnonzero(common >= max(least, 1e-6))
            shared = common[others]
            dist = np.maximum(1 - shared / (2 - shared), 0).astype(np.float32)
            near = dist <= np.float32(limit)
            sizes[row + 1] = near.sum()
            block.append((others[near].astype(np.int32), dist[near]))
        columns.append(np.concatenate([pair[0] for pair in block]))
        distances.append(np.concatenate([pair[1] for pair in block]))
    data = np.concatenate(distances), np.concatenate(columns), np.cumsum(sizes)
    return sparse.csr_array(data, shape=(count, count))
