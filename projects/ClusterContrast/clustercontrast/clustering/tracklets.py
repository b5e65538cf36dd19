"""Tracklets as a constraint: what a tracker knows about who is who.

All images of a tracklet are one identity, and two tracklets that one camera sees at the same time
are two. They come from a CSV (CLUSTER.TRACKLETS), which may be that of ``CSVReID:``::

    image,tracklet,camera,time
    door/0001.jpg,door_17,door,120
    door/0002.jpg,door_17,door,125

``image`` is relative to the table's folder, or absolute. A tracklet name counts for all cameras.
``time`` is any number, as of frames; a tracklet lasts from its first to its last. Without camera or
time only the first half of the rule holds.

Letters: N images, T tracklets.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from reid_common.errors import UserError
from reid_common.tables import cell_text, read_rows
from scipy import sparse

COLUMNS = ("image", "tracklet", "camera", "time")


@dataclass
class Tracklets:
    """Tracklets of N images.

    Attributes:
        of_image: (N,) int64, number of each image's tracklet; -1: none.
        apart: (first, second) of tracklets that cannot be one identity, first < second.
    """

    of_image: np.ndarray
    apart: set[tuple[int, int]] = field(default_factory=set)


@dataclass
class _Seen:
    number: int
    camera: str = ""
    first: float = math.inf
    last: float = -math.inf


def read_tracklets(path: str, images: Sequence[str]) -> Tracklets:
    """Read a table for the N image files ``images``.

    Raises:
        UserError: columns are missing, a time is no number, a tracklet is under two cameras, an
            image is named twice, or none of the images is named.
    """
    if not os.path.isfile(path):
        raise UserError(f"CLUSTER.TRACKLETS: there is no file {path!r}; give the path of a CSV")
    folder = os.path.dirname(os.path.abspath(path))
    rows = {os.path.abspath(image): row for row, image in enumerate(images)}
    of_image = np.full(len(images), -1, np.int64)
    seen: dict[str, _Seen] = {}
    for place, values in read_rows(path, COLUMNS[:2], COLUMNS):
        name = cell_text(values["tracklet"])
        image = os.path.normpath(os.path.join(folder, cell_text(values["image"])))
        if not name or image not in rows:
            continue
        tracklet = seen.setdefault(name, _Seen(len(seen), cell_text(values.get("camera"))))
        if of_image[rows[image]] >= 0:
            raise UserError(f"{place}: {image!r} is named twice; remove one of the rows")
        of_image[rows[image]] = tracklet.number
        _take(tracklet, name, place, values)
    if not seen:
        raise UserError(
            f"CLUSTER.TRACKLETS: {path!r} names a tracklet of none of the {len(images)} images, "
            f"such as {images[0]!r}; write paths relative to {folder!r}, or absolute ones"
        )
    return Tracklets(of_image, _at_the_same_time(seen.values()))


def _take(tracklet: _Seen, name: str, place: str, values: Any) -> None:
    """Take up camera and time of one image."""
    if cell_text(values.get("camera")) != tracklet.camera:
        raise UserError(
            f"{place}: tracklet {name!r} is under camera {cell_text(values.get('camera'))!r} here "
            f"and {tracklet.camera!r} before; give tracklets of two cameras two names"
        )
    text = cell_text(values.get("time"))
    if not text:
        return
    try:
        time = float(text)
    except ValueError as error:
        raise UserError(f"{place}: time is {text!r}; write a number, or nothing") from error
    tracklet.first, tracklet.last = min(tracklet.first, time), max(tracklet.last, time)


def _at_the_same_time(tracklets: Any) -> set[tuple[int, int]]:
    """Pairs of tracklets under one camera whose times overlap."""
    found: set[tuple[int, int]] = set()
    by_camera: dict[str, list[_Seen]] = {}
    for tracklet in tracklets:
        if tracklet.camera and tracklet.last >= tracklet.first:
            by_camera.setdefault(tracklet.camera, []).append(tracklet)
    for group in by_camera.values():
        running: list[_Seen] = []
        for tracklet in sorted(group, key=lambda t: (t.first, t.number)):
            running = [other for other in running if other.last >= tracklet.first]
            pairs = (sorted((tracklet.number, other.number)) for other in running)
            found.update((first, second) for first, second in pairs)
            running.append(tracklet)
    return found


def constrain_distances(distances: sparse.csr_array, tracklets: Tracklets) -> sparse.csr_array:
    """Set distances within a tracklet to 0, and drop pairs of tracklets that are two identities."""
    count = distances.shape[0]
    rows = np.repeat(np.arange(count), np.diff(distances.indptr))
    first, second = tracklets.of_image[rows], tracklets.of_image[distances.indices]
    if tracklets.apart:
        total = int(tracklets.of_image.max()) + 1
        apart = np.array([a * total + b for a, b in sorted(tracklets.apart)])
        both = (first >= 0) & (second >= 0)
        pairs = np.minimum(first, second) * total + np.maximum(first, second)
        kept = ~(both & np.isin(pairs, apart))
    else:
        kept = np.ones(len(rows), bool)
    kept &= (first < 0) | (first != second)
    own = np.concatenate([_pairs_within(images) for images in members(tracklets)], axis=1)
    data = np.concatenate([distances.data[kept], np.zeros(own.shape[1], np.float32)])
    columns = np.concatenate([distances.indices[kept], own[1]])
    return _rows_of(data, (np.concatenate([rows[kept], own[0]]), columns), count)


def members(tracklets: Tracklets) -> list[np.ndarray]:
    """Images of each tracklet, by its number."""
    order = np.argsort(tracklets.of_image, kind="stable")
    counts = np.bincount(tracklets.of_image + 1)
    return np.split(order, np.cumsum(counts)[:-1])[1:]


def _pairs_within(images: np.ndarray) -> np.ndarray:
    """All pairs (2, n * n) of n images, with themselves."""
    return np.stack([np.repeat(images, len(images)), np.tile(images, len(images))])


def _rows_of(data: np.ndarray, where: tuple[np.ndarray, ...], count: int) -> sparse.csr_array:
    """A sparse matrix that keeps its zeros."""
    order = np.lexsort((where[1], where[0]))
    ends = np.concatenate([[0], np.cumsum(np.bincount(where[0], minlength=count))])
    parts = (data[order], where[1][order].astype(np.int32), ends.astype(np.int64))
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
