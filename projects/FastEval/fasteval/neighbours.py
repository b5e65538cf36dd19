"""The k nearest neighbours of many features, one block of queries at a time.

On the CPU faiss searches: as fast as the matrix product alone, where torch's ``topk`` adds a fifth
to it. Its blocks are those that faiss itself makes (4096 queries), so that the numbers are those of
one call, which is what FastReID's re-ranking makes. On a GPU torch searches.

Letters: Q queries, N features of the data base, D dimensions, k neighbours.
"""

from __future__ import annotations

from typing import Literal

import faiss
import numpy as np
from torch import Tensor

from .progress import shown

Metric = Literal["euclidean", "inner_product"]
FAISS_BLOCK = 4096  # faiss::distance_compute_blas_query_bs
BYTES = 4  # of a float32


def nearest(
    queries: Tensor, database: Tensor, k: int, metric: Metric, block_mb: float = 128
) -> tuple[np.ndarray, np.ndarray]:
    """Find the neighbours of each query, the nearest first.

    Args:
        queries: (Q, D) float32.
        database: (N, D) float32, on the same device.
        k: neighbours of each, at most N.
        metric: "euclidean" (squared distances, ascending) or "inner_product" (descending).
        block_mb: megabytes of a block of distances, on a GPU.

    Returns:
        Distances or products (Q, k) float32, and indices (Q, k) int64 into ``database``.

    Raises:
        ValueError: k is not in 1..N.
    """
    if not 1 <= k <= len(database):
        raise ValueError(f"k={k} neighbours of {len(database)} features")
    values = np.empty((len(queries), k), np.float32)
    indices = np.empty((len(queries), k), np.int64)
    on_cpu = queries.device.type == "cpu"
    size = FAISS_BLOCK if on_cpu else max(1, int(block_mb * 2**20 / (BYTES * len(database))))
    search = _faiss_search if on_cpu else _torch_search
    starts = range(0, len(queries), size)
    for start in shown(starts, "neighbours"):
        rows = slice(start, start + size)
        values[rows], indices[rows] = search(queries[rows], database, k, metric)
    return values, indices


def _faiss_search(
    queries: Tensor, database: Tensor, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    return faiss.knn(np.ascontiguousarray(queries), np.ascontiguousarray(database), k, metric=kind)


def _torch_search(
    queries: Tensor, database: Tensor, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ database.t()
    if metric == "euclidean":
        # -|q - x|^2 but for |q|^2, which is the same in the whole row
        scores.mul_(2).sub_(database.square().sum(1))
    values, indices = scores.topk(k, dim=1)
    if metric == "euclidean":
        values = (queries.square().sum(1, keepdim=True) - values).clamp_(min=0)
    return values.cpu().numpy(), indices.cpu().numpy()
