"""Who is hard to find, and which pairs of cameras fail: scores of each identity and pair.

For a pair (a, b) queries of camera a are ranked in the whole gallery, but only images of camera b
count as matches; matches of other cameras are left out, as if they were not there. A pair of a
camera with itself has no value, because the protocol leaves a query's identity under its own camera
out. The matrix is not symmetric, and its mean is not the mAP. Images of which no camera is known
count as one camera in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reid_core.side_information.rows import FIRST_WITHOUT_CAMERA

from ..ranking.metrics import GalleryRanker, Pairs, rank_block

BEHIND = 2**40  # more than any camera


@dataclass
class CameraPairs:
    """Scores of A cameras of queries with B cameras of the gallery.

    Cameras are numbered as in :class:`~fasteval.results.result_set.ResultSet`; those of the
    model's table come first, then others, then :data:`FIRST_WITHOUT_CAMERA` for what is of no
    known camera.

    Attributes:
        query_cameras: (A,).
        gallery_cameras: (B,).
        ap: (A, B) mean average precision, 0..1, NaN where no query has a match.
        rank1: (A, B) share of the queries whose nearest image is right, likewise.
        num_queries: (A, B) queries that have a match in the pair.
    """

    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    ap: np.ndarray
    rank1: np.ndarray
    num_queries: np.ndarray

    def worst(self) -> list[tuple[int, int]]:
        """Positions (row, column) of the pairs with a value, lowest mAP first."""
        rows, columns = np.nonzero(self.num_queries)
        order = np.argsort(self.ap[rows, columns], kind="stable")
        return list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))


class CameraPairRanking:
    """Ranks blocks of queries for the matches of each camera, and sums up.

    Its arguments are those of :class:`~fasteval.ranking.metrics.GalleryRanker`.
    """

    def __init__(
        self, q_pids: np.ndarray, g_pids: np.ndarray, q_camids: np.ndarray, g_camids: np.ndarray
    ) -> None:
        self.query_cameras, self._row_of = _cameras(q_camids)
        self.gallery_cameras, self._column_of = _cameras(g_camids)
        self._ranker = GalleryRanker(q_pids, g_pids, q_camids, g_camids)
        # sums over queries of AP, of hits at the first rank, and of 1
        self._sums = np.zeros((3, len(self.query_cameras), len(self.gallery_cameras)))

    def add(self, dist: np.ndarray, start: int) -> None:
        """Take a block in: distances (b, G) without NaN of the queries from ``start`` on."""
        stop = start + len(dist)
        pairs = self._ranker.pairs(start, stop)
        row_of, ones = self._row_of[start:stop], np.ones(len(dist))
        for camera in range(len(self.gallery_cameras)):
            junk = pairs.junk | (self._column_of[pairs.columns] != camera)
            ranked = rank_block(dist, Pairs(pairs.rows, pairs.columns, junk))
            counted = ranked.counted
            values = (ranked.average_precision, ranked.first_hit == 0, ones)
            for sums, value in zip(self._sums, values, strict=True):
                np.add.at(sums[:, camera], row_of[counted], value[counted])

    def result(self) -> CameraPairs:
        """Means over the queries of each pair."""
        ap, first, counts = self._sums
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as promised
            means = ap / counts, first / counts
        return CameraPairs(self.query_cameras, self.gallery_cameras, *means, counts.astype(int))


def _cameras(camids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cameras (A,) of images, in the order of :class:`CameraPairs`, and which one each has (N,)."""
    camids = np.maximum(camids, FIRST_WITHOUT_CAMERA)
    keys, which = np.unique(np.where(camids < 0, BEHIND - camids, camids), return_inverse=True)
    return np.where(keys < BEHIND, keys, BEHIND - keys), which


@dataclass
class IdentityScores:
    """Scores of I identities that have a query with a match, worst mean AP first.

    Attributes:
        pids: (I,) identities.
        num_queries: (I,) their queries that count.
        ap: (I,) mean average precision of these, 0..1.
        rank1: (I,) share of these whose nearest image is right, 0..1.
        first_hit: (I,) mean 1-based rank of the first right image.
    """

    pids: np.ndarray
    num_queries: np.ndarray
    ap: np.ndarray
    rank1: np.ndarray
    first_hit: np.ndarray


def identity_scores(ap: np.ndarray, first_hit: np.ndarray, pids: np.ndarray) -> IdentityScores:
    """Average the scores of queries by identity; equally bad ones in the order of their numbers.

    Args:
        ap: (Q,) average precisions, 0..1.
        first_hit: (Q,) 0-based ranks of the first right image, -1 = no match: it does not count.
        pids: (Q,) identities.
    """
    counted = first_hit >= 0
    names, of = np.unique(pids[counted], return_inverse=True)
    num_queries = np.bincount(of, minlength=len(names))

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, weights=values[counted], minlength=len(names)) / num_queries

    scores = mean(ap)
    worst_first = np.argsort(scores, kind="stable")
    columns = (names, num_queries, scores, mean(first_hit == 0), mean(first_hit + 1))
    return IdentityScores(*(column[worst_first] for column in columns))
