"""Tracks of a tracker, compared by their mean features: which of them are of one person.

A tracker loses who is hidden or leaves the view, and gives a new number afterwards. The mean of a
track's features is less noisy than any of them; and much is ruled out without looking: two tracks
that one camera sees at the same time are two persons, and nobody comes back after hours.

Letters: N images, T tracks, Q tracks that search, G tracks that are searched, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reid_common.errors import UserError
from reid_core.config.values import check_choice
from reid_core.data.tracklets import Seen, Tracklets, members, seen_at_once

from .feature_files import FeatureSet, Ranking
from .search import check_comparable

CAMERAS = ("any", "same", "other")


@dataclass(frozen=True)
class Gates:
    """Which pairs of tracks may be one person, by place and time alone.

    Attributes:
        max_gap: greatest time between the end of one and the beginning of the other, in the unit of
            the table; None: any.
        cameras: "any", only tracks of the "same" camera, or only of an "other" one.
    """

    max_gap: float | None = None
    cameras: str = "any"

    def check(self, tracks: list[Seen], option: str) -> None:
        """Raise UserError where the tracks do not say what the gates ask for."""
        check_choice("--cameras", self.cameras, CAMERAS)
        if self.max_gap is not None and not self.max_gap >= 0:
            raise UserError(f"--max-gap is {self.max_gap:g}; give a time from 0 on")
        lacking = [track.name for track in tracks if not track.timed]
        if self.max_gap is not None and lacking:
            raise UserError(
                f"--max-gap: the tracklet {lacking[0]!r} of {option} has no time; fill in the "
                "column time, or leave --max-gap out"
            )
        lacking = [track.name for track in tracks if not track.camera]
        if self.cameras != "any" and lacking:
            raise UserError(
                f"--cameras {self.cameras}: the tracklet {lacking[0]!r} of {option} has no camera; "
                "fill in the column camera, or leave --cameras out"
            )

    def pairs(self, query: list[Seen], gallery: list[Seen]) -> np.ndarray:
        """Which of Q tracks may be one person with which of G: (Q, G) bool; see :func:`apart`."""
        allowed = ~apart(query, gallery)
        if self.max_gap is not None:
            allowed &= _gaps(query, gallery) <= self.max_gap
        if self.cameras != "any":
            allowed &= _same_camera(query, gallery) == (self.cameras == "same")
        return allowed


def apart(query: list[Seen], gallery: list[Seen]) -> np.ndarray:
    """Which of Q tracks one camera sees at the same time as which of G: (Q, G) bool."""
    found, before = np.zeros((len(query), len(gallery)), bool), len(query)
    pairs = seen_at_once([*query, *gallery])
    across = np.array([pair for pair in pairs if pair[0] < before <= pair[1]], int).reshape(-1, 2)
    found[across[:, 0], across[:, 1] - before] = True
    return found


def _same_camera(query: list[Seen], gallery: list[Seen]) -> np.ndarray:
    rows, columns = (np.array([track.camera for track in side]) for side in (query, gallery))
    return (rows[:, None] == columns) & (rows != "")[:, None]


def _gaps(query: list[Seen], gallery: list[Seen]) -> np.ndarray:
    """Time between the end of one track and the beginning of the other; NaN = unknown: (Q, G)."""
    begin, end = np.array([_times(track) for track in query]).T[..., None]  # (Q, 1) each
    begins, ends = np.array([_times(track) for track in gallery]).T  # (G,)
    return np.maximum(begin - ends, begins - end)


def _times(track: Seen) -> tuple[float, float]:
    return (track.first, track.last) if track.timed else (np.nan, np.nan)


def mean_tracks(features: FeatureSet, tracklets: Tracklets) -> FeatureSet:
    """One feature a track: the mean of its images', at length 1.

    Its path is that of the image nearest to the mean, its ids are those that most of its images
    have. Images without a track are left out.

    Returns:
        T rows, in the order of the tracks' numbers.
    """
    rows, paths = [], []
    ids: dict[str, list[int]] = {name: [] for name in features.ids}
    for images in members(tracklets):
        mean = features.features[images].mean(0)
        rows.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        paths.append(features.paths[images[(features.features[images] @ mean).argmax()]])
        for name, column in features.ids.items():
            values, counts = np.unique(column[images], return_counts=True)
            ids[name].append(int(values[counts.argmax()]))
    columns = {name: np.array(values, np.int64) for name, values in ids.items()}
    return FeatureSet(paths, np.stack(rows).astype(np.float32), **columns, meta=features.meta)


def rank_tracks(query: FeatureSet, gallery: FeatureSet, allowed: np.ndarray, top: int) -> Ranking:
    """Find the ``top`` tracks that are most similar and allowed, (Q, G), of each track.

    Args:
        query, gallery: of :func:`mean_tracks`.

    Raises:
        UserError: features that cannot be compared.
    """
    check_comparable(query, gallery)
    scores = np.where(allowed, query.features @ gallery.features.T, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    found = np.take_along_axis(scores, order, axis=1)
    missing = max(0, top - order.shape[1])
    order = np.pad(np.where(np.isinf(found), -1, order), ((0, 0), (0, missing)), constant_values=-1)
    found = np.pad(found, ((0, 0), (0, missing)), constant_values=-np.inf)
    ids = query.pids, gallery.pids, query.camids, gallery.camids
    return Ranking(query.paths, gallery.paths, order, found.astype(np.float32), *ids)


def join_tracks(
    tracks: FeatureSet, allowed: np.ndarray, never: np.ndarray, least: float
) -> np.ndarray:
    """Persons of T tracks: the most similar pair is joined first, down to a similarity.

    Args:
        tracks: of :func:`mean_tracks`.
        allowed: (T, T) bool, symmetric: pairs that may be joined. Tracks that are too far from each
            other in time for that become one person through others in between.
        never: (T, T) bool: pairs that are two persons, see :func:`apart`. Groups that hold one are
            not joined.
        least: cosine from which on two tracks are one person.

    Returns:
        (T,) int64, number of each track's person, 0-based, in the order of appearance.
    """
    scores = tracks.features @ tracks.features.T
    groups = [[track] for track in range(len(tracks))]
    of_track = list(range(len(tracks)))
    first, second = np.nonzero(np.triu(allowed, 1) & (scores >= least))
    for pair in np.argsort(-scores[first, second], kind="stable").tolist():
        a, b = of_track[first[pair]], of_track[second[pair]]
        if a == b or never[np.ix_(groups[a], groups[b])].any():
            continue
        for track in groups[b]:
            of_track[track] = a
        groups[a] += groups[b]
    _, numbers = np.unique(of_track, return_inverse=True)
    return numbers.astype(np.int64)
