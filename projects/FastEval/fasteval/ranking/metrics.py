"""CMC, mAP and mINP without sorting: for each match, count the gallery images that are nearer.

Everything is per block of queries, so that nothing here grows with queries x gallery. How the
counting is made fast is in positions.py.

The protocol is Market-1501's, as in FastReID's ``evaluate_py``: gallery images of the query's
identity and camera ("junk") are left out; queries without any other image of their identity are
ignored; equal distances keep the gallery's order, as a stable sort would; NaN ranks last.

Letters: Q queries, G gallery images, b queries of a block, P pairs of a query and a gallery image
of its identity, R ranks of the CMC.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from reid_common.errors import UserError

from .positions import kept_positions, ragged_ranges

logger = logging.getLogger(__name__)


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
        self.require_match()
        hits = self.first_hit[self.counted]
        counts = np.bincount(hits[hits < max_rank], minlength=max_rank)
        return np.cumsum(counts) / len(hits)

    @property
    def mean_ap(self) -> float:
        """Mean of the average precisions, 0..1."""
        self.require_match()
        return float(np.mean(self.average_precision[self.counted]))

    @property
    def mean_inp(self) -> float:
        """Mean of the inverse negative penalties, 0..1."""
        self.require_match()
        return float(np.mean(self.inverse_penalty[self.counted]))

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

    Args:
        q_pids: (Q,) identities of the queries.
        g_pids: (G,) identities of the gallery.
        q_camids: (Q,) cameras of the queries.
        g_camids: (G,) cameras of the gallery.

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
