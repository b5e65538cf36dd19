"""Sparse re-ranking against FastReID's dense one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fasteval import Rerank
from fasteval.distances import jaccard as jaccard_module
from fasteval.distances.blocks import FeatureDistances
from fasteval.distances.jaccard import (
    Blend,
    JaccardDistances,
    expanded_sets,
    neighbour_weights,
    reciprocal,
)
from fasteval.neighbours.nearest import nearest
from fastreid.utils.compute_dist import compute_jaccard_distance
from reid_common.errors import UserError
from retrieval_sets import clustered_features


def assert_is_fastreids(features: torch.Tensor, num_query: int, k1: int, k2: int) -> None:
    expected = compute_jaccard_distance(features, k1, k2, search_option=3)
    distances = JaccardDistances(features, num_query, k1, k2)
    got = np.concatenate([distances.rows(q, q + 1) for q in range(num_query)])
    np.testing.assert_allclose(got, expected[:num_query, num_query:], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(distances.rows(0, num_query), got)
    assert got.dtype == np.float32


@pytest.mark.parametrize("k1, k2", [(20, 6), (30, 1), (7, 5), (5, 3), (4, 9), (2, 2), (1, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_is_fastreids(k1, k2, seed) -> None:
    pids = np.random.default_rng(seed).integers(0, 9, 61)
    assert_is_fastreids(clustered_features(pids, 16, 1.0, seed), 11, k1, k2)


@pytest.mark.parametrize("count", [2, 3, 9, 19])
def test_fewer_images_than_k1(count) -> None:
    pids = np.arange(count) % 3
    assert_is_fastreids(clustered_features(pids, 8, 0.5), 1, 20, 6)


def test_one_identity() -> None:
    assert_is_fastreids(clustered_features(np.zeros(40, int), 8, 0.1), 5, 20, 6)


@pytest.mark.parametrize("copies", [2, 30])
def test_identical_features(copies) -> None:
    """Equally near images: on a CPU both take them as faiss gives them."""
    features = clustered_features(np.arange(4), 8, 0.0).repeat(copies, 1)
    assert_is_fastreids(features, 4, 6, 3)


def test_features_that_are_not_normalised() -> None:
    features = 3 * clustered_features(np.arange(50) % 7, 16, 0.7)
    assert_is_fastreids(features * torch.rand(50, 1).add(0.5), 9, 10, 4)


@pytest.mark.parametrize("at_once", [1, 4, 10])
def test_queries_taken_at_once_make_no_difference(at_once, monkeypatch) -> None:
    distances = JaccardDistances(clustered_features(np.arange(50) % 7, 16, 0.7), 11, 10, 4)
    expected = [distances.rows(query, query + 1)[0] for query in range(11)]
    monkeypatch.setattr(jaccard_module, "QUERIES_AT_ONCE", at_once)
    np.testing.assert_array_equal(distances.rows(0, 11), expected)
    np.testing.assert_array_equal(distances.rows(3, 9), expected[3:9])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blend_weighs_both(weight, metric) -> None:
    features = clustered_features(np.arange(50) % 7, 16, 0.7)
    plain = FeatureDistances(features[:9], features[9:], metric)
    jaccard = JaccardDistances(features, 9, 10, 4)
    blend = Blend(plain, jaccard, weight)
    expected = weight * plain.rows(2, 9) + (1 - weight) * jaccard.rows(2, 9)
    np.testing.assert_allclose(blend.rows(2, 9), expected, rtol=0, atol=1e-6)
    assert blend.largest == pytest.approx(weight * plain.largest + 1 - weight)
    assert (jaccard.rows(0, 9) == 1).any() and (jaccard.rows(0, 9) < 1).any()


@pytest.mark.parametrize("num_known", [1, 3, 12])
def test_weights_do_not_depend_on_what_is_known(num_known, monkeypatch) -> None:
    """Equation 7 in a loop; pairs that are no neighbours are computed, three at a time."""
    monkeypatch.setattr(jaccard_module, "PAIRS_AT_ONCE", 3)
    features = clustered_features(np.arange(30) % 4, 8, 1.0)
    squared, neighbours = nearest(features, num_known, "euclidean")
    sets = expanded_sets(nearest(features, 12, "euclidean")[1], 12)
    found = neighbour_weights(features.numpy(), sets, squared, neighbours)
    for image in range(30):
        members = sets.indices[sets.indptr[image] : sets.indptr[image + 1]]
        expected = (-(features[image] - features[members]).square().sum(1)).softmax(0)
        assert len(members) > 1
        np.testing.assert_allclose(
            found.toarray()[image, members], expected.numpy(), rtol=0, atol=1e-6
        )


def test_hand_value() -> None:
    """Neighbours of 0: 0 1 2; of 1: 1 0 2; of 2: 2 1 3; of 3: 3 2 1; k1 = 3.

    Reciprocal: 0 with 0 1 (2 has no 0), 1 with 0 1 2, 2 with 1 2 3, 3 with 2 3. The half sets have
    round(3 / 2) + 1 = 3 neighbours, too: the same. Expanding 0 = {0, 1}: candidate 1 shares 2 of
    its 3, which is not more than 2/3, candidate 0 adds nothing. 3 likewise. Expanding 1 =
    {0, 1, 2}: candidate 0 shares 2 of 2 and adds nothing; candidate 2 shares 2 of 3.
    """
    neighbours = np.array([[0, 1, 2], [1, 0, 2], [2, 1, 3], [3, 2, 1]])
    expected = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert reciprocal(neighbours, 3).toarray().tolist() == expected
    assert (expanded_sets(neighbours, 3).toarray() > 0).astype(int).tolist() == expected


def test_a_set_is_expanded_by_what_shares_more_than_two_thirds() -> None:
    """k1 = 6, half sets of round(6 / 2) + 1 = 4. R(0) = {0 1 2 3 4 5}: 6 is not among 0's six.

    R(1, 4) = {0 1 2 6}: 0, 2 and 6 have 1 among their first 4. R(0) has 3 of these 4: it gets 6.
    """
    neighbours = np.array(
        [
            [0, 1, 2, 3, 4, 5],
            [1, 0, 2, 6, 3, 4],
            [2, 1, 0, 3, 6, 4],
            [3, 0, 1, 2, 4, 5],
            [4, 3, 0, 1, 2, 5],
            [5, 4, 3, 0, 6, 2],
            [6, 1, 2, 3, 4, 5],
        ]
    )
    assert np.flatnonzero(reciprocal(neighbours, 6).toarray()[0]).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(reciprocal(neighbours, 4).toarray()[1]).tolist() == [0, 1, 2, 6]
    assert np.flatnonzero(expanded_sets(neighbours, 6).toarray()[0]).tolist() == list(range(7))


@pytest.mark.parametrize("k1, k2", [(0, 6), (20, 0)])
def test_k_must_be_positive(k1, k2) -> None:
    with pytest.raises(UserError, match=f"k1={k1}, k2={k2}"):
        Rerank(k1, k2)
