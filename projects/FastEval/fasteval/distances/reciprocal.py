"""k-reciprocal neighbours and their expansion, as sparse matrices.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. A row of
the matrices here is an image, its columns are the images of its set; a set has at most k1 of the N
images, or a few times that when expanded, so that memory is linear in N.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse


def sets_of(neighbours: np.ndarray, k: int) -> sparse.csr_array:
    """Return the first ``k`` of the neighbours (N, K) of each image as rows of (N, N) ones."""
    count = len(neighbours)
    columns = neighbours[:, :k].astype(np.int32)
    ends = np.arange(count + 1, dtype=np.int64) * columns.shape[1]
    ones = np.ones(columns.size, np.float32)
    return sparse.csr_array((ones, columns.ravel(), ends), shape=(count, count))


def reciprocal(neighbours: np.ndarray, k: int) -> sparse.csr_array:
    """Return R(i, k), (N, N) ones: images among the first k of i that have i among their first k.

    Args:
        neighbours: (N, K) int, the nearest first.
        k: how many of them count; K if that is less.
    """
    forward = sets_of(neighbours, k)
    return forward.multiply(forward.T.tocsr()).tocsr()


def expanded_sets(neighbours: np.ndarray, k1: int) -> sparse.csr_array:
    """Return R*(i, k1), equation 5: R(i, k1) and all R(c, k1 / 2) of which it has two thirds.

    As in FastReID, whose search returns k1 images (the image itself among them), R(i, k1) has k1
    at most, and the halves round(k1 / 2) + 1, with round half to even.

    Args:
        neighbours: (N, k1) int, the nearest first.
        k1: neighbours that count.

    Returns:
        (N, N); what is stored is in the set, whatever its value; columns of a row are sorted.
    """
    whole = reciprocal(neighbours, k1)
    half = reciprocal(neighbours, int(np.around(k1 / 2)) + 1)
    sizes = np.diff(half.indptr)
    # For each candidate c of i: how many of the half set of c are in the set of i
    common = (whole @ half.T.tocsr()).multiply(whole).tocsr()
    common.data = (common.data > 2 / 3 * sizes[common.indices]).astype(np.float32)
    common.eliminate_zeros()
    united = (whole + common @ half).tocsr()
    united.sort_indices()
    return united
