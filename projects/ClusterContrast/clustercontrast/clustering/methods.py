"""Clustering methods by name: from sparse distances to labels.

A method gets the distances (N, N) of all pairs that are near enough, as
:func:`fasteval.distances.close_pairs.close_pairs` gives them, and returns labels (N,) int64: 0..M-1
in the order of the first image of each cluster, -1 for images of none (outliers).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fastreid.utils.registry import Registry
from scipy import sparse

CLUSTERING_REGISTRY = Registry("CLUSTERING")


# A method: (distances, eps, min_samples) -> labels (N,)
Clustering = Callable[[sparse.csr_array, float, int], np.ndarray]


def within(distances: sparse.csr_array, eps: float) -> sparse.csr_array:
    """Keep the distances that are at most ``eps``; zeros stay stored."""
    near = distances.data <= np.float32(eps)
    rows = np.repeat(np.arange(distances.shape[0]), np.diff(distances.indptr))[near]
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=distances.shape[0]))])
    parts = (distances.data[near], distances.indices[near], ends.astype(np.int64))
    return sparse.csr_array(parts, shape=distances.shape)


@CLUSTERING_REGISTRY.register()
def DBSCAN(distances: sparse.csr_array, eps: float, min_samples: int) -> np.ndarray:
    """Cores have ``min_samples`` images within ``eps``, themselves among them; clusters join cores.

    Ester et al., "A Density-Based Algorithm for Discovering Clusters", KDD 1996, by scikit-learn. A
    border image joins the first cluster that reaches it, so that labels depend on the order of
    images.
    """
    from sklearn.cluster import dbscan  # late: seconds

    near = within(distances, eps)
    # Of int32 indices and ascending rows, as scikit-learn takes them without a message
    matrix = sparse.csr_matrix((near.data, near.indices, near.indptr), shape=near.shape)
    labels = dbscan(matrix, eps=eps, min_samples=min_samples, metric="precomputed")[1]
    return labels.astype(np.int64)


@CLUSTERING_REGISTRY.register()
def ConnectedComponents(distances: sparse.csr_array, eps: float, min_samples: int) -> np.ndarray:
    """Images that chains of pairs within ``eps`` join; fewer than ``min_samples`` are outliers.

    As DBSCAN, but every image counts as a core: it needs a smaller eps, and joins more.
    """
    _, found = sparse.csgraph.connected_components(_with_links(within(distances, eps)), False)
    large = np.bincount(found) >= min_samples
    names, firsts = np.unique(found, return_index=True)
    order = names[np.argsort(firsts)]
    numbers = np.full(len(large), -1, np.int64)
    kept = order[large[order]]
    numbers[kept] = np.arange(len(kept))
    return numbers[found]


def _with_links(near: sparse.csr_array) -> sparse.csr_array:
    """The same pairs with a weight of 1: a graph of scipy has no edges of weight 0."""
    ones = np.ones_like(near.data)
    return sparse.csr_array((ones, near.indices, near.indptr), shape=near.shape)
