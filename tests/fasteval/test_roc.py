"""TPR at FPR against what FastReID calls: all pairs in scikit-learn's ``roc_curve``."""

from __future__ import annotations

import numpy as np
import pytest
from fasteval.ranking.metrics import GalleryRanker
from fasteval.ranking.roc import RocCollector, RocCurve
from fastreid.evaluation import roc
from retrieval_sets import Ids, random_distances, random_ids
from sklearn import metrics

RATES = (1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.2, 0.5, 1.0)


def collect(dist: np.ndarray, ids: Ids, limit_mb: float) -> RocCurve:
    ranker, collector = GalleryRanker(*ids.all()), RocCollector(dist.size, 1.0, limit_mb)
    for start in range(0, len(dist), 7):
        block = dist[start : start + 7]
        collector.add(block, ranker.pairs(start, start + len(block)))
    return collector.curve()


def fastreids(dist: np.ndarray, ids: Ids) -> list[float]:
    scores, labels = roc.evaluate_roc_py(dist, *ids.all())
    fprs, tprs, _ = metrics.roc_curve(labels, scores)
    return [tprs[np.argmin(np.abs(fprs - rate))] for rate in RATES]


@pytest.mark.parametrize("decimals", [None, 3, 2, 1, 0])
@pytest.mark.parametrize("seed", range(15))
def test_exact_figures_are_fastreids(decimals, seed) -> None:
    rng = np.random.default_rng(seed)
    num_query, num_gallery = int(rng.integers(2, 50)), int(rng.integers(20, 200))
    ids = random_ids(rng, num_query, num_gallery, num_ids=2 + seed % 5)
    dist = random_distances(rng, num_query, num_gallery, decimals)
    curve = collect(dist, ids, limit_mb=1)
    assert curve.exact
    assert [curve.tpr_at(rate) for rate in RATES] == pytest.approx(fastreids(dist, ids), abs=1e-12)
    assert (np.diff(curve.fpr) > 0).all()
    assert (np.diff(curve.tpr) >= 0).all()


def test_histogram_is_close_and_says_so() -> None:
    rng = np.random.default_rng(0)
    ids = random_ids(rng, 200, 500)
    dist = random_distances(rng, 200, 500, None)
    curve = collect(dist, ids, limit_mb=0.1)
    assert not curve.exact
    got = [curve.tpr_at(rate) for rate in RATES]
    assert got == pytest.approx(fastreids(dist, ids), abs=1e-4)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("limit_mb", [0, 1])
def test_one_identity_has_no_tpr(limit_mb) -> None:
    ids = Ids(np.zeros(3, int), np.zeros(9, int), np.zeros(3, int), np.ones(9, int))
    dist = random_distances(np.random.default_rng(0), 3, 9, None)
    assert np.isnan(fastreids(dist, ids)[4])
    assert np.isnan(collect(dist, ids, limit_mb).tpr_at(0.1))


@pytest.mark.parametrize("limit_mb", [0, 1])
def test_infinite_distances_are_the_farthest(limit_mb) -> None:
    """Of 2 matching pairs one is at infinity, as is 1 of 2 others: at FPR 1/2 TPR is 1/2."""
    ids = Ids(np.array([0]), np.array([0, 0, 1, 2]), np.array([0]), np.ones(4))
    dist = np.array([[0.1, np.inf, np.inf, 0.05]], np.float32)
    assert collect(dist, ids, limit_mb).tpr_at(0.5) == pytest.approx(0.5, abs=1e-6)
