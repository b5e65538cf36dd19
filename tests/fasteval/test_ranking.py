"""Ranking by counting against FastReID's own Python code, query by query and as a whole."""

from __future__ import annotations

import types

import numpy as np
import pytest
from fasteval.ranking import positions, positions_sorted
from fasteval.ranking.metrics import GalleryRanker, RankingResult, concatenate
from fastreid.evaluation import rank
from reid_common.errors import UserError
from retrieval_sets import Ids, random_distances, random_ids


@pytest.fixture(autouse=True)
def _stable(monkeypatch) -> None:
    """FastReID sorts with numpy's default, which leaves the order of equal distances to chance."""
    stable = types.SimpleNamespace(**{k: getattr(np, k) for k in dir(np) if k[0] != "_"})
    argsort = np.argsort
    stable.argsort = lambda a, axis: argsort(a, axis=axis, kind="stable")
    monkeypatch.setattr(rank, "np", stable)


def in_blocks(dist: np.ndarray, ids: Ids, size: int) -> RankingResult:
    ranker = GalleryRanker(*ids.all())
    starts = range(0, len(dist), size)
    return concatenate([ranker.rank(dist[start : start + size], start) for start in starts])


def assert_is_fastreids(got: RankingResult, dist: np.ndarray, ids: Ids) -> None:
    """Compare each query with evaluate_py of that query alone, which fails without a match."""
    for query in range(len(dist)):
        one = slice(query, query + 1)
        try:
            cmc, precision, penalty = rank.evaluate_py(
                dist[one], ids.q_pids[one], ids.g_pids, ids.q_camids[one], ids.g_camids, 999, False
            )
        except AssertionError:
            assert got.first_hit[query] == -1
            assert np.isnan(got.average_precision[query])
            assert np.isnan(got.inverse_penalty[query])
            continue
        assert got.first_hit[query] == np.argmax(cmc)
        assert got.average_precision[query] == pytest.approx(precision[0], abs=1e-9)
        assert got.inverse_penalty[query] == pytest.approx(penalty[0], abs=1e-9)


@pytest.mark.parametrize("num_gallery", [1, 2, 5, 9, 30, 120])
@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
@pytest.mark.parametrize("sort_from, many_ties", [(1, 64), (3, 0), (400, 64)])
def test_each_query_is_as_in_fastreid(
    num_gallery, decimals, sort_from, many_ties, monkeypatch
) -> None:
    """Ties, images without a camera, queries without a match; counted and sorted."""
    monkeypatch.setattr(positions, "SORTING_PAYS_FROM", sort_from)
    monkeypatch.setattr(positions_sorted, "MANY_TIES", many_ties)
    ignored = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        ids = random_ids(rng, 17, num_gallery, num_ids=1 + num_gallery // 4, num_cams=2)
        dist = random_distances(rng, 17, num_gallery, decimals)
        got = in_blocks(dist, ids, size=1 + 5 * seed)
        assert_is_fastreids(got, dist, ids)
        ignored += got.num_ignored
    assert ignored > 0


@pytest.mark.parametrize("seed", range(10))
def test_the_whole_is_as_in_fastreid(seed) -> None:
    rng = np.random.default_rng(seed)
    ids = random_ids(rng, 40, 100 + seed, num_ids=3 + seed % 4)
    dist = random_distances(rng, 40, 100 + seed, None if seed % 3 == 0 else 1)
    cmc, precisions, penalties = rank.evaluate_py(dist, *ids.all(), 50, False)
    got = in_blocks(dist, ids, 7)
    np.testing.assert_array_equal(got.cmc().astype(np.float32), cmc)
    assert got.mean_ap == pytest.approx(np.mean(precisions), abs=1e-9)
    assert got.mean_inp == pytest.approx(np.mean(penalties), abs=1e-9)
    assert got.counted.sum() == len(precisions)


def test_one_identity_with_one_distance() -> None:
    """All of the gallery matches at rank 1, in whatever order: AP and INP are 1."""
    ids = Ids(np.zeros(3, int), np.zeros(500, int), np.full(3, 7), np.zeros(500, int))
    got = in_blocks(np.zeros((3, 500), np.float32), ids, 2)
    assert got.first_hit.tolist() == [0, 0, 0]
    assert got.mean_ap == got.mean_inp == 1.0


def test_hand_value() -> None:
    """Gallery in order of distance: wrong, right, junk (own camera), wrong, right.

    Kept: wrong, right, wrong, right: AP = (1/2 + 2/4) / 2 = 0.5, INP = 2/4, CMC = 0, 1, 1, ...
    """
    dist = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]], np.float32)
    ids = Ids(np.array([1]), np.array([2, 1, 1, 3, 1]), np.array([0]), np.array([0, 1, 0, 0, 1]))
    got = in_blocks(dist, ids, 1)
    assert got.cmc(6).tolist() == [0, 1, 1, 1, 1, 1]
    assert got.average_precision.tolist() == got.inverse_penalty.tolist() == [0.5]


def test_equal_distances_keep_the_gallery_order() -> None:
    """Wrong, wrong, right, right at one distance: AP = (1/3 + 2/4) / 2."""
    ids = Ids(np.array([1]), np.array([0, 0, 1, 1]), np.array([9]), np.zeros(4))
    got = in_blocks(np.zeros((1, 4)), ids, 1)
    assert got.mean_ap == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_nan_ranks_last_and_is_reported_once(caplog) -> None:
    dist = np.array([[np.nan, 0.5, 0.1]] * 2)
    ids = Ids(np.array([1, 1]), np.array([1, 2, 1]), np.array([9, 9]), np.zeros(3))
    got = in_blocks(dist, ids, 1)
    assert got.mean_ap == pytest.approx((1 + 2 / 3) / 2)
    assert caplog.text.count("diverged") == 1
    assert np.isnan(dist[0, 0])


def test_nothing_to_rank_is_an_error() -> None:
    ids = Ids(*(np.zeros(3, int) for _ in range(4)))
    got = in_blocks(np.zeros((3, 3)), ids, 3)
    assert got.num_ignored == 3
    for figure in (got.cmc, lambda: got.mean_ap, lambda: got.mean_inp):
        with pytest.raises(UserError, match="None of the 3 queries"):
            figure()


def test_ids_must_be_complete() -> None:
    three, two = np.zeros(3), np.zeros(2)
    with pytest.raises(UserError, match="3 identities and 2 cameras of gallery images"):
        GalleryRanker(two, three, two, two)
