"""Sparse distances of few images, written by hand, and as a dense matrix."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def pairs_of(entries: dict[tuple[int, int], float], count: int) -> sparse.csr_array:
    """Symmetric sparse distances with a diagonal of stored zeros."""
    full = {(i, i): 0.0 for i in range(count)}
    for (i, j), distance in entries.items():
        full[i, j] = full[j, i] = distance
    keys = sorted(full)
    ends = np.searchsorted([i for i, _ in keys], np.arange(count + 1))
    data = np.array([full[key] for key in keys], np.float32)
    columns = np.array([j for _, j in keys], np.int32)
    return sparse.csr_array((data, columns, ends), shape=(count, count))


def dense(pairs: sparse.csr_array, missing: float = 1.0) -> np.ndarray:
    """All distances; ``missing`` for pairs that are not stored."""
    matrix = np.full(pairs.shape, missing, np.float32)
    matrix[np.repeat(np.arange(len(matrix)), np.diff(pairs.indptr)), pairs.indices] = pairs.data
    return matrix
