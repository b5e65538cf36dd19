"""How sure a mean over queries is: bootstrap confidence intervals (Efron, 1979).

Queries are drawn with replacement, as many as there are, again and again; the middle 95 % of the
means are the interval. Queries of one identity are alike: when she is hard to find, all of hers
are. Drawing identities with all their queries (a cluster bootstrap: Davison and Hinkley, "Bootstrap
Methods", 1997, section 3.8) allows for that; its interval is wider and is the one to quote. Neither
allows for another training run with another seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

NUM_RESAMPLES = 2000
BATCH_ELEMENTS = 2**22  # numbers that are drawn at a time


@dataclass
class Interval:
    """A mean and its interval, in the unit of the values."""

    mean: float
    low: float
    high: float

    def percent(self) -> Interval:
        """Return the interval of 0..1 in percent."""
        return Interval(100 * self.mean, 100 * self.low, 100 * self.high)


def confidence_interval(
    values: np.ndarray,
    clusters: np.ndarray | None = None,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a mean over queries.

    Args:
        values: (Q,) such as average precisions, or 1 where the first rank is right and else 0.
        clusters: (Q,) what is drawn as a whole: identities of the queries. None: single queries.
        level: share of the resampled means within the interval, 0..1.
        num_resamples: number of draws.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        The interval; low = high = mean if there is one query, or one cluster, only.

    Raises:
        ValueError: there are no values.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("no values: there is no mean of nothing")
    sums, counts = cluster_sums(values, clusters)
    mean = float(values.mean())
    if len(sums) == 1:
        return Interval(mean, mean, mean)
    found = bootstrap(
        (sums, counts),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=num_resamples,
        batch=max(1, BATCH_ELEMENTS // len(sums)),
        confidence_level=level,
        # BCa, scipy's default, has no answer when all values are alike: Rank-1 of 100 %.
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))


def cluster_sums(values: np.ndarray, clusters: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums (C,) of the values of each cluster, and how many (C,) it has; one each without any."""
    if clusters is None:
        return values, np.ones(len(values))
    _, of = np.unique(clusters, return_inverse=True)
    return np.bincount(of, weights=values), np.bincount(of).astype(np.float64)


def _ratio(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean over queries of a draw of clusters."""
    return sums.sum(axis=axis) / counts.sum(axis=axis)
