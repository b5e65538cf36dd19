"""ROC of all pairs of a query and a gallery image, from the pass that ranks.

FastReID's convention: the positive class is "another identity", the score is the distance. FPR is
the share of matching pairs that are as far apart as a threshold or farther (rejected by mistake),
TPR the share of other pairs that are (rejected rightly). Pairs of one identity and camera are left
out.

Thresholds are distances of matching pairs, which are few, so that it suffices to count how many of
the other pairs are as far apart as each of them. Up to a limit of memory their distances are kept
and counted exactly; above it a histogram counts them, linear within a bin. Matching pairs are
always exact.

Letters: P matching pairs, N other pairs, n thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .metrics import Pairs

BYTES = 4  # of a float32
NUM_BINS = 2**22


@dataclass
class RocCurve:
    """Points of a ROC, from the largest threshold to the smallest.

    Attributes:
        fpr: (n,) 0..1, rising, from 0.
        tpr: (n,) 0..1, rising, from 0; at each FPR the smallest TPR, as in FastReID's figures.
        exact: False when a histogram has counted.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    exact: bool

    def tpr_at(self, fpr: float) -> float:
        """TPR at the point whose FPR is nearest; of two equally near ones the one with less."""
        return float(self.tpr[np.argmin(np.abs(self.fpr - fpr))])


class RocCollector:
    """Collects blocks of distances for a ROC.

    Args:
        num_pairs: queries x gallery images.
        largest: a bound of the distances.
        limit_mb: megabytes up to which the distances of all pairs are kept.
    """

    def __init__(self, num_pairs: int, largest: float, limit_mb: float) -> None:
        self.exact = num_pairs * BYTES <= limit_mb * 2**20
        self._matching: list[np.ndarray] = []
        self._others = np.empty(num_pairs if self.exact else 0, np.float32)
        self._num_others = 0
        self._scale = NUM_BINS / max(largest, np.finfo(np.float32).tiny)
        # One bin more, of what is beyond the bound: infinity
        self._counts = np.zeros(0 if self.exact else NUM_BINS + 1, np.int64)

    def add(self, dist: np.ndarray, pairs: Pairs) -> None:
        """Count a block: distances (b, G) without NaN, and its pairs of one identity."""
        same = dist[pairs.rows, pairs.columns]
        self._matching.append(same[~pairs.junk])
        if self.exact:
            other = np.ones(dist.shape, bool)
            other[pairs.rows, pairs.columns] = False
            count = np.count_nonzero(other)
            self._others[self._num_others : self._num_others + count] = dist[other]
            self._num_others += count
        else:
            self._counts += self._histogram(dist)
            self._counts -= self._histogram(same)

    def _histogram(self, dist: np.ndarray) -> np.ndarray:
        bins = np.clip(dist.ravel() * self._scale, 0, NUM_BINS).astype(np.int32)
        return np.bincount(bins, minlength=NUM_BINS + 1)

    def curve(self) -> RocCurve:
        """Return the ROC of all blocks; call it once, and with a matching pair at least.

        Without other pairs (a gallery of one identity) TPR is NaN, as in FastReID.
        """
        matching = np.concatenate(self._matching)
        thresholds, steps = np.unique(matching, return_counts=True)
        num_others, as_far, farther = self._count_others(thresholds)
        # From the largest threshold on
        steps, as_far, farther = steps[::-1], as_far[::-1], farther[::-1]
        kept = np.ones(len(steps), bool)
        if self.exact:  # so many pairs that they are not exact have others between any two
            kept = ~_collinear(steps, as_far, farther)
        fpr = np.cumsum(steps)[kept] / len(matching)
        tpr = as_far[kept] / num_others if num_others else np.full(len(fpr), np.nan)
        return RocCurve(np.append(0.0, fpr), np.append(0.0, tpr), self.exact)

    def _count_others(self, thresholds: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
        """How many other pairs there are, how many are at each threshold or farther, or farther."""
        if not self.exact:
            below = np.append(0, np.cumsum(self._counts))
            positions = np.clip(thresholds * self._scale, 0, NUM_BINS)
            as_far = below[-1] - np.interp(positions, np.arange(len(below)), below)
            return int(below[-1]), as_far, as_far
        others = self._others[: self._num_others]
        others.sort()
        as_far = len(others) - np.searchsorted(others, thresholds, side="left")
        farther = len(others) - np.searchsorted(others, thresholds, side="right")
        return len(others), as_far, farther


def _collinear(steps: np.ndarray, as_far: np.ndarray, farther: np.ndarray) -> np.ndarray:
    """Which points scikit-learn's ``roc_curve``, which FastReID calls, drops, (n,) bool.

    Those on the straight line between their neighbours: no other pair lies between this threshold
    and the next, and both thresholds have equally many pairs of each kind. The first and the last
    point stay. FastReID then picks the nearest FPR of those that are left, so that it matters.
    """
    ties = as_far - farther
    dropped = np.zeros(len(steps), bool)
    same_step = (steps[:-1] == steps[1:]) & (ties[:-1] == ties[1:])
    dropped[:-1] = same_step & (farther[1:] == as_far[:-1])
    if farther[0] == 0:
        dropped[0] = False
    return dropped
