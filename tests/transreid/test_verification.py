"""Thresholds at wanted false accept rates: by hand, and against naive loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from reid_common.errors import UserError
from scipy.stats import binomtest
from sklearn.metrics import roc_curve
from transreid.inference.pairs import identity_pairs, pair_similarities
from transreid.inference.verification import operating_point, roc, threshold_at, wilson


def by_hand() -> tuple[np.ndarray, np.ndarray]:
    """Ten negatives 0.0 ... 0.9, four positives."""
    negative, positive = np.arange(10) / 10, np.array([0.95, 0.85, 0.75, 0.15])
    same = np.repeat([False, True], [10, 4])
    return np.concatenate([negative, positive]).astype(np.float32), same


def test_threshold_by_hand() -> None:
    similarities, same = by_hand()
    point = operating_point(similarities, same, 0.2)
    # 2 of 10 negatives may pass, 0.9 and 0.8: the threshold is just above 0.7.
    assert point.threshold == np.nextafter(np.float32(0.7), np.float32(1))
    assert point.far == 0.2
    assert point.tar == 3 / 4
    assert (point.num_negative, point.num_positive) == (10, 4)
    assert point.supported
    assert "about 150 are needed" in point.remark  # 30 / 0.2


def test_too_few_negatives_are_said_plainly() -> None:
    similarities, same = by_hand()
    point = operating_point(similarities, same, 0.001)
    assert not point.supported
    assert point.threshold == np.nextafter(np.float32(0.9), np.float32(1))
    assert (point.far, point.tar) == (0.0, 1 / 4)
    assert "10 negative pairs cannot support a FAR of 0.001" in point.remark
    assert "at least 1000" in point.remark
    # 0 of 10, Wilson: z^2 / (n + z^2) = 3.84 / 13.84
    assert "as high as 0.28" in point.remark


@pytest.mark.parametrize(("count", "supported"), [(999, False), (1000, True)])
def test_one_over_far_pairs_are_just_enough(count, supported) -> None:
    negative = np.linspace(-1, 1, count, dtype=np.float32)
    similarities = np.append(negative, np.float32(0.5))
    point = operating_point(similarities, np.arange(count + 1) == count, 0.001)
    assert point.supported is supported
    assert point.far == (0.001 if supported else 0.0)


def test_threshold_is_the_smallest_that_keeps_the_rate() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        negative = rng.integers(0, 8, rng.integers(1, 30)).astype(np.float32) / 8  # many ties
        far = rng.uniform(0.01, 0.99)
        threshold = threshold_at(negative, far)
        assert (negative >= threshold).mean() <= far
        below = np.nextafter(threshold, np.float32(-np.inf))
        assert (negative >= below).mean() > far


def test_enough_pairs_need_no_remark() -> None:
    rng = np.random.default_rng(0)
    similarities = rng.normal(size=4000).astype(np.float32)
    point = operating_point(similarities, np.arange(4000) < 500, 0.01)
    assert point.remark == ""
    low, high = point.far_interval
    assert low < point.far <= 0.01 < high


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 10), (1, 1000)])
def test_wilson_interval_is_scipys(successes, trials) -> None:
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_roc_is_sklearns() -> None:
    rng = np.random.default_rng(0)
    similarities = rng.integers(0, 20, 300).astype(np.float32)
    same = rng.random(300) < 0.3
    far, tar = roc(similarities, same)
    expected_far, expected_tar, _ = roc_curve(same, similarities, drop_intermediate=False)
    np.testing.assert_allclose(far, expected_far)
    np.testing.assert_allclose(tar, expected_tar)


def test_what_has_no_threshold_is_refused() -> None:
    similarities, same = by_hand()
    for far in (0, 1, -0.1, math.nan):
        with pytest.raises(UserError, match="between 0 and 1"):
            operating_point(similarities, same, far)
    for labels in (same & False, same | True):
        with pytest.raises(UserError, match="needs both"):
            operating_point(similarities, labels, 0.1)


def naive_pairs(pids, camids) -> tuple[set, set]:
    positive, negative = set(), set()
    for i, j in itertools.combinations(range(len(pids)), 2):
        if pids[i] < 0 or pids[j] < 0:
            continue
        if camids is not None and (min(camids[i], camids[j]) < 0 or camids[i] == camids[j]):
            continue
        (positive if pids[i] == pids[j] else negative).add(frozenset((i, j)))
    return positive, negative


@pytest.mark.parametrize("across_cameras", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_all_pairs_of_identities(across_cameras, count) -> None:
    rng = np.random.default_rng(count)
    pids, camids = rng.integers(-1, 6, count), rng.integers(-1, 3, count)
    cameras = camids if across_cameras else None
    pairs, same = identity_pairs(pids, cameras)
    found = [frozenset(map(int, pair)) for pair in pairs]
    positive, negative = naive_pairs(pids, cameras)
    assert len(set(found)) == len(found)
    assert {p for p, s in zip(found, same, strict=True) if s} == positive
    assert {p for p, s in zip(found, same, strict=True) if not s} == negative


def test_a_sample_of_pairs_is_spread_and_repeatable() -> None:
    pids = np.arange(600) // 20  # 5,700 positive and 174,000 negative pairs
    pairs, same = identity_pairs(pids, max_pairs=1000, seed=3)
    assert same.sum() == 1000
    assert (~same).sum() == 1000
    assert len(np.unique(np.sort(pairs), axis=0)) == 2000
    np.testing.assert_array_equal(pids[pairs[:, 0]] == pids[pairs[:, 1]], same)
    assert len(np.unique(pairs[~same])) > 500, "nearly every image is in some pair"
    again, _ = identity_pairs(pids, max_pairs=1000, seed=3)
    other, _ = identity_pairs(pids, max_pairs=1000, seed=4)
    np.testing.assert_array_equal(pairs, again)
    assert not np.array_equal(pairs, other)


def test_similarities_of_pairs() -> None:
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    pairs = np.array([[0, 8], [3, 3], [7, 1]])
    expected = [features[i] @ features[j] for i, j in pairs]
    np.testing.assert_allclose(pair_similarities(features, pairs, block=2), expected, rtol=1e-5)
