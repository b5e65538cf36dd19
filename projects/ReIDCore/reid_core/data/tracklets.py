"""Tracklets: what a tracker knows about who is who.

All images of a tracklet are one identity, and two tracklets that one camera sees at the same time
are two. They come from a CSV, which may be that of ``CSVReID:``::

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
from typing import Any

import numpy as np
from reid_common.errors import UserError
from reid_common.tables import cell_text, read_rows

COLUMNS = ("image", "tracklet", "camera", "time")


@dataclass
class Tracklets:
    """Tracklets of N images.

    Attributes:
        of_image: (N,) int64, number of each image's tracklet; -1: none.
        apart: (first, second) of tracklets that cannot be one identity, first < second.
        seen: the T tracklets, where they come from a table.
    """

    of_image: np.ndarray
    apart: set[tuple[int, int]] = field(default_factory=set)
    seen: list[Seen] = field(default_factory=list)


@dataclass
class Seen:
    """One tracklet."""

    number: int
    name: str
    camera: str = ""  # "" = unknown
    first: float = math.inf  # times; first > last: unknown
    last: float = -math.inf

    @property
    def timed(self) -> bool:
        """Whether its times are known."""
        return self.last >= self.first


def read_tracklets(
    path: str, images: Sequence[str], option: str = "CLUSTER.TRACKLETS"
) -> Tracklets:
    """Read a table for the N image files ``images``; ``option`` names it in messages.

    Raises:
        UserError: columns are missing, a time is no number, a tracklet is under two cameras, an
            image is named twice, or none of the images is named.
    """
    if not os.path.isfile(path):
        raise UserError(f"{option}: there is no file {path!r}; give the path of a CSV")
    folder = os.path.dirname(os.path.abspath(path))
    rows = {os.path.abspath(image): row for row, image in enumerate(images)}
    of_image = np.full(len(images), -1, np.int64)
    seen: dict[str, Seen] = {}
    for place, values in read_rows(path, COLUMNS[:2], COLUMNS):
        name = cell_text(values["tracklet"])
        image = os.path.normpath(os.path.join(folder, cell_text(values["image"])))
        if not name or image not in rows:
            continue
        tracklet = seen.setdefault(name, Seen(len(seen), name, cell_text(values.get("camera"))))
        if of_image[rows[image]] >= 0:
            raise UserError(f"{place}: {image!r} is named twice; remove one of the rows")
        of_image[rows[image]] = tracklet.number
        _take(tracklet, place, values)
    if not seen:
        raise UserError(
            f"{option}: {path!r} names a tracklet of none of the {len(images)} images, "
            f"such as {images[0]!r}; write paths relative to {folder!r}, or absolute ones"
        )
    tracks = list(seen.values())
    return Tracklets(of_image, seen_at_once(tracks), tracks)


def _take(tracklet: Seen, place: str, values: Any) -> None:
    """Take up camera and time of one image."""
    camera = cell_text(values.get("camera"))
    if camera != tracklet.camera:
        raise UserError(
            f"{place}: tracklet {tracklet.name!r} is under camera {camera!r} here "
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


def seen_at_once(tracks: Sequence[Seen]) -> set[tuple[int, int]]:
    """Pairs of tracklets under one camera whose times overlap: their places, the smaller first."""
    found: set[tuple[int, int]] = set()
    by_camera: dict[str, list[int]] = {}
    for place, track in enumerate(tracks):
        if track.camera and track.timed:
            by_camera.setdefault(track.camera, []).append(place)
    for group in by_camera.values():
        running: list[int] = []
        for place in sorted(group, key=lambda place: tracks[place].first):
            running = [other for other in running if tracks[other].last >= tracks[place].first]
            found.update((min(place, other), max(place, other)) for other in running)
            running.append(place)
    return found


def members(tracklets: Tracklets) -> list[np.ndarray]:
    """Images of each tracklet, by its number."""
    order = np.argsort(tracklets.of_image, kind="stable")
    counts = np.bincount(tracklets.of_image + 1)
    return np.split(order, np.cumsum(counts)[:-1])[1:]
