"""Confidence intervals: their width, what clusters do to it, and how often they are right."""

from __future__ import annotations

import numpy as np
import pytest
from fasteval.analysis.bootstrap import cluster_sums, confidence_interval


def test_width_is_that_of_the_normal_approximation() -> None:
    """For a mean, the percentile interval tends to mean ± 1.96 s / sqrt(n)."""
    values = np.random.default_rng(0).beta(5, 1, 900)
    interval = confidence_interval(values, num_resamples=4000)
    half = 1.96 * values.std() / np.sqrt(900)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_copies_of_a_query_make_it_no_surer_by_identity() -> None:
    """9 copies of each value: clusters see the same 100 values, single queries see 900."""
    values = np.random.default_rng(1).random(100)
    clusters = np.arange(100)
    once = confidence_interval(values, clusters)
    copied = confidence_interval(np.repeat(values, 9), np.repeat(clusters, 9))
    single = confidence_interval(np.repeat(values, 9))
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert 3 * (single.high - single.low) == pytest.approx(copied.high - copied.low, rel=0.15)


def test_clusters_of_unequal_size() -> None:
    """The mean is over queries, not over identities; the draws follow."""
    values, clusters = np.array([1.0, 0, 0, 0]), np.array([7, 3, 3, 3])
    sums, counts = cluster_sums(values, clusters)
    assert sums.tolist() == [0, 1] and counts.tolist() == [3, 1]
    interval = confidence_interval(values, clusters, num_resamples=500)
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.0, 1.0)


def test_level_and_seed() -> None:
    values = np.random.default_rng(2).random(50)
    wide, narrow = confidence_interval(values, level=0.99), confidence_interval(values, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert confidence_interval(values, seed=4) == confidence_interval(values, seed=4)
    assert confidence_interval(values, seed=4) != confidence_interval(values, seed=5)


def test_edges() -> None:
    for values, clusters in (([0.5], None), ([1.0, 0.0], [4, 4]), ([1.0, 1, 1], None)):
        interval = confidence_interval(np.array(values), clusters)
        assert interval.low == interval.mean == interval.high == np.mean(values)
    with pytest.raises(ValueError, match="no values"):
        confidence_interval(np.array([]))


def test_covers_the_truth_as_often_as_it_says() -> None:
    """300 sets of 40 identities with 5 alike queries: 95 % by identity, far fewer by query."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(40), 5)
    covered = {"identity": 0, "query": 0}
    for _ in range(300):
        values = rng.normal(size=40)[clusters] + 0.3 * rng.normal(size=200)
        by_identity = confidence_interval(values, clusters, num_resamples=200)
        by_query = confidence_interval(values, num_resamples=200)
        covered["identity"] += by_identity.low <= 0 <= by_identity.high
        covered["query"] += by_query.low <= 0 <= by_query.high
    assert 0.90 <= covered["identity"] / 300 <= 0.98
    assert covered["query"] / 300 < 0.75
