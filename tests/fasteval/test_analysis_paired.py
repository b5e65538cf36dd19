"""Paired tests: exact values on paper, and false alarms at their rate."""

from __future__ import annotations

import numpy as np
import pytest
from fasteval.analysis.paired import compare, sign_flip_p_value
from scipy.stats import binomtest


def test_exact_value() -> None:
    """3 gains of 1: of the 8 sign patterns 1 has as large a sum, 1 as small: p = 2 / 8."""
    assert sign_flip_p_value(np.array([1.0, 1, 1])) == pytest.approx(0.25)
    # 1 + 2 - 4 = -1: of the 8 sums ±1 ±2 ±4 = -7, -5, ..., 7, four are -1 or less: p = 8 / 8
    assert sign_flip_p_value(np.array([1.0, 2, -4])) == pytest.approx(1.0)
    assert sign_flip_p_value(np.zeros(5)) == sign_flip_p_value(np.array([0.0, 3, 0])) == 1.0


def test_of_hits_it_is_mcnemars_test() -> None:
    """12 queries found only by the second, 3 only by the first: a fair coin 15 times."""
    changes = np.array([1.0] * 12 + [-1.0] * 3 + [0.0] * 500)
    expected = binomtest(3, 15).pvalue
    assert sign_flip_p_value(changes, num_resamples=2**15) == pytest.approx(expected)
    assert sign_flip_p_value(changes) == pytest.approx(expected, abs=0.01)


def test_false_alarms_come_at_their_rate() -> None:
    """Two equal models, identities with 6 alike queries: 5 % by identity, far more by query."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(30), 6)
    alarms = {"identity": 0, "query": 0}
    for _ in range(300):
        change = rng.normal(size=30)[clusters] + 0.2 * rng.normal(size=180)
        sums = np.bincount(clusters, weights=change)
        alarms["identity"] += sign_flip_p_value(sums, 199) < 0.05
        alarms["query"] += sign_flip_p_value(change, 199) < 0.05
    assert 0.02 <= alarms["identity"] / 300 <= 0.09
    assert alarms["query"] / 300 > 0.25


def test_a_gain_is_found_and_has_its_sign() -> None:
    rng = np.random.default_rng(1)
    pids = np.repeat(np.arange(60), 4)
    first = np.clip(rng.beta(4, 2, 240), 0, 0.9)
    second = first + 0.05 + rng.normal(0, 0.05, 240)
    found = compare(first, second, pids, num_resamples=999)
    assert found.num_queries == 240 and found.better > 3 * found.worse
    assert found.difference.mean == pytest.approx(second.mean() - first.mean())
    assert 0.03 < found.difference.low < 0.05 < found.difference.high + 0.01
    assert max(found.p_value, found.p_by_query, found.wilcoxon) <= 0.002
    back = compare(second, first, pids, num_resamples=999)
    assert back.difference.mean == pytest.approx(-found.difference.mean)
    assert (back.better, back.worse) == (found.worse, found.better)
    assert back.p_value == pytest.approx(found.p_value, abs=0.005)


def test_equal_models_are_no_different() -> None:
    values = np.random.default_rng(2).random(20)
    found = compare(values, values, np.arange(20), num_resamples=99)
    assert found.p_value == found.p_by_query == found.wilcoxon == 1.0
    assert found.difference.low == found.difference.high == 0
    with pytest.raises(ValueError, match="values for 19 queries"):
        compare(values, values, np.arange(19))
