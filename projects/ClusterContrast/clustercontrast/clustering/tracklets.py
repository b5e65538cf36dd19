"""Tracklets as a constraint on clusters: what a tracker knows about who is who.

All images of a tracklet are one identity, and two tracklets that one camera sees at the same time
are two (:mod:`reid_core.data.tracklets`).

Letters: N images.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from reid_core.data.tracklets import Tracklets, members
from scipy import sparse

LINKS = 32  # images of a long tracklet that are at distance 0, before and behind each


def constrain_distances(distances: sparse.csr_array, tracklets: Tracklets) -> sparse.csr_array:
    """Set distances within a tracklet to 0, and drop pairs of tracklets that are two identities.

    In a tracklet of up to 2 LINKS + 1 images every image is at 0 from every other; in a longer one
    each from LINKS before and behind it, in a ring, and from those that were near it anyway. So it
    hangs together, all of its images have many neighbours, and memory grows with its length alone.
    """
    count = distances.shape[0]
    rows = np.repeat(np.arange(count), np.diff(distances.indptr))
    first, second = tracklets.of_image[rows], tracklets.of_image[distances.indices]
    kept = np.ones(len(rows), bool)
    if tracklets.apart:
        total = int(tracklets.of_image.max()) + 1
        apart = np.array([a * total + b for a, b in sorted(tracklets.apart)])
        both = (first >= 0) & (second >= 0)
        pairs = np.minimum(first, second) * total + np.maximum(first, second)
        kept = ~(both & np.isin(pairs, apart))
    own = np.concatenate([_links(images) for images in members(tracklets)], axis=1)
    known = np.where((first >= 0) & (first == second), 0, distances.data)[kept]
    data = np.concatenate([known, np.zeros(own.shape[1])]).astype(np.float32)
    columns = np.concatenate([distances.indices[kept], own[1]])
    return _rows_of(data, (np.concatenate([rows[kept], own[0]]), columns), count)


def _links(images: np.ndarray) -> np.ndarray:
    """Pairs (2, n * m) of n images of a tracklet, with themselves; m = min(n, 2 LINKS + 1)."""
    count = len(images)
    steps = np.arange(min(count, 2 * LINKS + 1)) - min(count // 2, LINKS)
    others = (np.arange(count)[:, None] + steps) % count
    return np.stack([np.repeat(images, len(steps)), images[others.ravel()]])


def _rows_of(data: np.ndarray, where: tuple[np.ndarray, ...], count: int) -> sparse.csr_array:
    """A sparse matrix that keeps its zeros; of a pair that is there twice one counts."""
    rows, columns = where
    _, once = np.unique(rows * count + columns, return_index=True)  # row by row, in order
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows[once], minlength=count))])
    parts = (data[once], columns[once].astype(np.int32), ends.astype(np.int64))
    return sparse.csr_array(parts, shape=(count, count))


def constrain_labels(labels: np.ndarray, tracklets: Tracklets, min_samples: int) -> np.ndarray:
    """Let a tracklet have one label, and tracklets that are two identities two, in new labels (N,).

    A tracklet takes the cluster that most of its clustered images are in. In a cluster the tracklet
    with most images stays; one that cannot be with it moves, with others that can be with that, to
    a new cluster, which needs ``min_samples`` images.
    """
    new = labels.copy()
    for images in members(tracklets):
        clustered = labels[images][labels[images] >= 0]
        if len(clustered):
            new[images] = np.bincount(clustered).argmax()
    for cluster in np.unique(new[new >= 0]).tolist():
        _split(new, cluster, tracklets, min_samples)
    kept = np.unique(new[new >= 0])
    return np.where(new >= 0, np.searchsorted(kept, new), -1)


def _split(labels: np.ndarray, cluster: int, tracklets: Tracklets, min_samples: int) -> None:
    """Move tracklets out of a cluster, in place, until none is with one it cannot be with."""
    inside = tracklets.of_image[labels == cluster]
    numbers, counts = np.unique(inside[inside >= 0], return_counts=True)
    order = numbers[np.argsort(-counts, kind="stable")].tolist()
    if not any(tuple(sorted(pair)) in tracklets.apart for pair in combinations(order, 2)):
        return
    groups: list[list[int]] = [[]]
    for number in order:
        fits = (g for g in groups if all(_together(number, o, tracklets) for o in g))
        group = next(fits, None)
        if group is None:
            groups.append(group := [])
        group.append(number)
    for group in groups[1:]:
        images = (labels == cluster) & np.isin(tracklets.of_image, group)
        labels[images] = labels.max() + 1 if images.sum() >= min_samples else -1


def _together(first: int, second: int, tracklets: Tracklets) -> bool:
    return (min(first, second), max(first, second)) not in tracklets.apart
