"""Numbers that say how good pseudo labels are, with labels to compare with and without.

Letters: N images, M clusters.
"""

from __future__ import annotations

import numpy as np


def sizes(labels: np.ndarray) -> np.ndarray:
    """Images of each cluster, (M,); ``labels`` (N,) has -1 for outliers."""
    return np.bincount(labels[labels >= 0])


def rand_index(first: np.ndarray, second: np.ndarray) -> float:
    """Adjusted Rand index of two labellings (N,), over the images that both put in a cluster.

    Hubert and Arabie, "Comparing Partitions", 1985. 1: the same clusters, 0: as chance would have
    it; 0 where no image is in a cluster of both.
    """
    from sklearn.metrics import adjusted_rand_score  # late: seconds

    both = (first >= 0) & (second >= 0)
    return float(adjusted_rand_score(first[both], second[both])) if both.any() else 0.0


def purity(labels: np.ndarray, identities: np.ndarray) -> float:
    """Share of the clustered images that are of their cluster's most frequent identity, 0..1."""
    kept = labels >= 0
    if not kept.any():
        return 0.0
    pairs = np.stack([labels[kept], identities[kept]], 1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    most = np.zeros(labels.max() + 1, np.int64)
    np.maximum.at(most, found[:, 0], counts)
    return float(most.sum() / kept.sum())


def metrics(
    labels: np.ndarray,
    before: np.ndarray | None = None,
    identities: np.ndarray | None = None,
    cameras: np.ndarray | None = None,
) -> dict[str, float]:
    """Metrics of an epoch's pseudo labels.

    Args:
        labels: (N,).
        before: (N,) those of the epoch before, if there was one.
        identities: (N,) what the data set says; None: nothing.
        cameras: (N,), negative for images without one.

    Returns:
        clusters, outliers (share of N), cluster_size (median), largest_cluster (images), and, where
        they can be had, ari_before, ari_cameras, purity and ari_identities.
    """
    found = sizes(labels)
    values = {
        "clusters": float(len(found)),
        "outliers": float((labels < 0).mean()),
        "cluster_size": float(np.median(found)) if len(found) else 0.0,
        "largest_cluster": float(found.max()) if len(found) else 0.0,
    }
    if before is not None and len(before) == len(labels):
        values["ari_before"] = rand_index(labels, before)
    if cameras is not None and len(np.unique(cameras[cameras >= 0])) > 1:
        values["ari_cameras"] = rand_index(labels, cameras)
    if identities is not None:
        values["purity"] = purity(labels, identities)
        values["ari_identities"] = rand_index(labels, identities)
    return values
