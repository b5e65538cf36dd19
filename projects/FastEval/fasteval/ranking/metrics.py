"""CMC, mAP and mINP without sorting: for each match, count the gallery images that are nearer.

Everything is per block of queries, so that nothing here grows with queries x gallery. How the
counting is made fast is in positions.py.

The protocol is Market-1501's, as in FastReID's ``evaluate_py``: gallery images of the query's
identity and camera ("junk") are left out; queries without any other image of their identity are
ignored; equal distances keep the gallery's order, as a stable sort would; NaN ranks last.

Letters: Q queries, G gallery images, b queries of a block, P pairs of a query and a gallery image
of its identity, R ranks of the CMC, K images of a query in a results file.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from reid_common.errors import UserError

from .positions import kept_positions, ragged_ranges

logger = logging.getLogger(__name__)

GROUP_SIZE = 64  # distances of which the least bounds the first K


@dataclass
class RankingResult:
    """What ranking found, one entry a query, in the order of the queries.

    Attributes:
        first_hit: (Q,) int64, 0-based position of the first match among the gallery images that
            the query keeps; -1 = the query has no match and is ignored.
        average_precision: (Q,) float64, 0..1; NaN where ignored.
        inverse_penalty: (Q,) float64, matches / (position of the last match + 1), 0..1; NaN where
            ignored.
    """

    first_hit: np.ndarray
    average_precision: np.ndarray
    inverse_penalty: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """(Q,) bool: the queries that have a match."""
        return self.first_hit >= 0

    @property
    def num_ignored(self) -> int:
        """Number of queries without a match."""
        return int(np.count_nonzero(~self.counted))

    def cmc(self, max_rank: int = 50) -> np.ndarray:
        """Return the CMC (R,), 0..1: the share of queries with a match among the first r + 1.

        It stays at its last value where the gallery ends before that rank.

        Raises:
            UserError: no query has a match.
        """
        hits = self._of_counted(self.first_hit)
        counts = np.bincount(hits[hits < max_rank], minlength=max_rank)
        return np.cumsum(counts) / len(hits)

    @property
    def mean_ap(self) -> float:
        """Mean of the average precisions, 0..1."""
        return float(np.mean(self._of_counted(self.average_precision)))

    @property
    def mean_inp(self) -> float:
        """Mean of the inverse negative penalties, 0..1."""
        return float(np.mean(self._of_counted(self.inverse_penalty)))

    def _of_counted(self, values: np.ndarray) -> np.ndarray:
        self.require_match()
        return values[self.counted]

    def require_match(self) -> None:
        """Raise UserError if no query has a match."""
        if not self.counted.any():
            raise UserError(
                f"None of the {len(self.first_hit)} queries has a gallery image of its identity "
                "from another camera, so there is nothing to rank. Check the identities and "
                "cameras that the data set gives to its query and gallery items."
            )


def concatenate(results: Sequence[RankingResult]) -> RankingResult:
    """Put the results of blocks, in the order of the queries, into one."""
    columns = zip(*(vars(one).values() for one in results), strict=True)
    return RankingResult(*map(np.concatenate, columns))


@dataclass
class Pairs:
    """Pairs of a query of a block and a gallery image of its identity, ordered by both.

    Attributes:
        rows: (P,) int64, row in the block.
        columns: (P,) int64, gallery image.
        junk: (P,) bool, whether the camera is the query's, too.
    """

    rows: np.ndarray
    columns: np.ndarray
    junk: np.ndarray


class GalleryRanker:
    """Ranks a gallery for its queries, one block of queries at a time.

    Its arguments are identities (Q,) and (G,) and cameras (Q,) and (G,) of queries and gallery.

    Raises:
        UserError: identities and cameras are not equally many, or there are none.
    """

    def __init__(
        self, q_pids: np.ndarray, g_pids: np.ndarray, q_camids: np.ndarray, g_camids: np.ndarray
    ) -> None:
        for name, pids, camids in (("query", q_pids, q_camids), ("gallery", g_pids, g_camids)):
            if len(pids) != len(camids) or not len(pids):
                raise UserError(
                    f"{len(pids)} identities and {len(camids)} cameras of {name} images; an "
                    "evaluation needs one of each for every image, and at least one image"
                )
        self.q_camids, self.g_camids = np.asarray(q_camids), np.asarray(g_camids)
        self._by_pid = np.argsort(g_pids, kind="stable")
        ordered = np.asarray(g_pids)[self._by_pid]
        self._starts = np.searchsorted(ordered, q_pids, side="left")
        self._ends = np.searchsorted(ordered, q_pids, side="right")
        self._warned = False

    def pairs(self, start: int, stop: int) -> Pairs:
        """Return the pairs of the same identity of the queries ``start`` to ``stop`` - 1."""
        starts, ends = self._starts[start:stop], self._ends[start:stop]
        lengths = ends - starts
        rows = np.repeat(np.arange(stop - start), lengths)
        columns = self._by_pid[ragged_ranges(starts, lengths)]
        return Pairs(rows, columns, self.g_camids[columns] == self.q_camids[start + rows])

    def rank(self, dist: np.ndarray, start: int) -> RankingResult:
        """Rank the gallery for the b queries from ``start`` on by their distances (b, G)."""
        dist = self.without_nan(dist)
        return rank_block(dist, self.pairs(start, start + len(dist)))

    def without_nan(self, dist: np.ndarray) -> np.ndarray:
        """Return ``dist`` with NaN as infinity, so that it ranks last; warn at the first one."""
        if not dist.size or not np.isnan(dist.max()):
            return dist
        if not self._warned:
            logger.warning("Some distances are NaN and rank last: has the training diverged?")
        self._warned = True
        return np.where(np.isnan(dist), np.inf, dist)


def rank_block(dist: np.ndarray, pairs: Pairs) -> RankingResult:
    """Rank the gallery by distances (b, G) without NaN, given the pairs of one identity."""
    rows = pairs.rows[~pairs.junk]
    positions = kept_positions(dist, pairs.rows, pairs.columns, pairs.junk)
    offsets = rows * dist.shape[1]
    positions = np.sort(positions + offsets) - offsets  # ascending in each row

    num_rows = len(dist)
    matches = np.bincount(rows, minlength=num_rows)
    some = matches > 0
    first = np.cumsum(matches) - matches  # where each row's matches begin
    found = np.arange(len(rows)) - first[rows] + 1
    first_hit = np.full(num_rows, -1)
    precision = np.full(num_rows, np.nan)
    penalty = np.full(num_rows, np.nan)
    sums = np.bincount(rows, found / (positions + 1.0), minlength=num_rows)
    first_hit[some] = positions[first[some]]
    precision[some] = sums[some] / matches[some]
    penalty[some] = matches[some] / (positions[(first + matches - 1)[some]] + 1.0)
    return RankingResult(first_hit, precision, penalty)


def nearest_kept(dist: np.ndarray, pairs: Pairs, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rank the gallery images that count for each query of a block.

    Args:
        dist: (b, G) distances without NaN, smaller is closer.
        pairs: those of the block; the junk among them is left out.
        k: K.

    Returns:
        Positions in the gallery (b, K) int64, nearest first, equal distances in the gallery's
        order; and the distances (b, K) float32. -1 and infinity where a query keeps fewer than K.
    """
    indices = np.full((len(dist), k), -1)
    distances = np.full((len(dist), k), np.inf, np.float32)
    junk_rows, junk_columns = pairs.rows[pairs.junk], pairs.columns[pairs.junk]
    bounds = np.searchsorted(junk_rows, np.arange(len(dist) + 1))
    for number, whole in enumerate(dist):
        junk = junk_columns[bounds[number] : bounds[number + 1]]
        row = whole.copy()
        row[junk] = np.inf
        limit = _upper_bound(row, k)
        near = np.flatnonzero(row <= limit)
        if np.isinf(limit):
            near = np.setdiff1d(near, junk)
        near = near[np.argsort(row[near], kind="stable")][:k]
        indices[number, : len(near)], distances[number, : len(near)] = near, row[near]
    return indices, distances


def _upper_bound(row: np.ndarray, k: int) -> float:
    """A distance within which there are at least ``k`` images, and few more.

    The k-th smallest of the minima of groups is one: k images are as near. Minima take a pass at
    the speed of memory, where a partition of the row takes nine times as long.
    """
    num_groups = len(row) // GROUP_SIZE
    if num_groups < k:
        return np.inf
    groups = row[: num_groups * GROUP_SIZE].reshape(GROUP_SIZE, num_groups)
    return np.partition(groups.min(axis=0), k - 1)[k - 1]
