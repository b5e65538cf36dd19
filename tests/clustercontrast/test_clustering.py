"""Clusters, the choice of eps, and metrics, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clustercontrast.clustering.cameras import centred_by_camera
from clustercontrast.clustering.choosing_eps import choose_eps, format_table, sparse_silhouette
from clustercontrast.clustering.methods import CLUSTERING_REGISTRY, DBSCAN, within
from clustercontrast.clustering.quality import metrics, purity, rand_index
from clustercontrast.engine.pseudo_labels import PseudoLabels
from fasteval.distances.close_pairs import close_pairs
from fastreid.utils.compute_dist import compute_jaccard_distance
from reid_common.errors import UserError
from reid_core.config import load_config
from retrieval_sets import clustered_features
from sklearn.metrics import silhouette_samples
from sparse_pairs import dense, pairs_of

BASE = "projects/ClusterContrast/configs/Base-ClusterContrast.yml"


@pytest.mark.parametrize("limit", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("count", [2, 40, 150])
def test_close_pairs_are_the_small_distances(count, limit) -> None:
    features = clustered_features(np.arange(count) % 7, 16, 0.8, 3)
    found = close_pairs(features, limit, 10, 3)
    expected = compute_jaccard_distance(features, min(10, count), 3, search_option=3)
    near = expected <= limit - 1e-5
    np.testing.assert_allclose(dense(found)[near], expected[near], rtol=0, atol=1e-5)
    assert near.sum() <= found.nnz <= (expected <= limit + 1e-5).sum()
    assert found.has_sorted_indices
    assert (found.diagonal() == 0).all()


def test_identical_images_are_at_distance_0() -> None:
    pairs = close_pairs(torch.ones(30, 4) / 2, 0.6, 10, 3)
    assert DBSCAN(pairs, 0.6, 4).max() == 0


def test_within_keeps_zeros() -> None:
    pairs = pairs_of({(0, 1): 0.0, (1, 2): 0.5, (0, 3): 0.7}, 4)
    near = within(pairs, 0.5)
    assert near.nnz == 4 + 2 + 2
    np.testing.assert_array_equal(dense(near)[1], [0, 0, 0.5, 1])


@pytest.mark.parametrize("method", ["DBSCAN", "ConnectedComponents"])
def test_methods_by_hand(method) -> None:
    """A chain of four, a pair and a lone image: with three images a cluster the chain is one."""
    pairs = pairs_of({(1, 2): 0.1, (2, 4): 0.0, (4, 6): 0.3, (0, 5): 0.1, (3, 4): 0.9}, 7)
    labels = CLUSTERING_REGISTRY.get(method)(pairs, 0.3, 3)
    np.testing.assert_array_equal(labels, [-1, 0, 0, -1, 0, -1, 0])
    assert labels.dtype == np.int64


def test_silhouette_is_scikit_learns() -> None:
    features = clustered_features(np.arange(90) % 5, 16, 1.0, 1)
    pairs = close_pairs(features, 1.0, 12, 4)
    labels = DBSCAN(pairs, 0.5, 4)
    kept = labels >= 0
    matrix = dense(pairs)[np.ix_(kept, kept)]
    expected = silhouette_samples(matrix, labels[kept], metric="precomputed").mean()
    assert sparse_silhouette(pairs, labels) == pytest.approx(expected, abs=1e-5)
    assert sparse_silhouette(pairs, np.zeros(90, int)) == 0


def test_eps_is_chosen_where_clusters_are_the_identities() -> None:
    identities = np.arange(240) % 12
    features = clustered_features(identities, 32, 0.9, 0)
    pairs = close_pairs(features, 0.8, 15, 4)
    eps, table = choose_eps(pairs, DBSCAN, 4)
    assert rand_index(DBSCAN(pairs, eps, 4), identities) > 0.9
    chosen = next(row for row in table if row.eps == eps)
    assert chosen.score == max(row.score for row in table if row.largest <= 0.5)
    assert "silhouette" in format_table(table)


def test_no_eps_is_usable() -> None:
    with pytest.raises(UserError, match=r"no eps gives 99 clusters(.|\n)*silhouette"):
        choose_eps(pairs_of({(0, 1): 0.1}, 5), DBSCAN, 2, min_clusters=99)


def test_metrics_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, -1])
    identities = np.array([7, 7, 8, 8, 8, 8])
    # cluster 0: two of three are 7; cluster 1: both are 8
    assert purity(labels, identities) == pytest.approx(4 / 5)
    found = metrics(labels, labels, identities)
    assert found["clusters"] == 2 and found["outliers"] == pytest.approx(1 / 6)
    assert found["cluster_size"] == 2.5 and found["largest_cluster"] == 3
    assert found["ari_before"] == 1 and 0 < found["ari_identities"] < 1
    assert set(metrics(labels)) == {"clusters", "outliers", "cluster_size", "largest_cluster"}


@pytest.mark.parametrize("value", ["auto", "0.5", "1"])
def test_eps_of_any_type_on_the_command_line(value) -> None:
    """The base config has the number 0.6."""
    assert load_config(BASE).CLUSTER.EPS == 0.6
    assert str(load_config(BASE, ["CLUSTER.EPS", value]).CLUSTER.EPS) == value


def test_a_camera_is_taken_out() -> None:
    """Two persons under two cameras that shift all features: centred, the persons remain."""
    persons = torch.eye(4)[:2].repeat_interleave(20, 0)
    cameras = np.tile([0, 1], 20)
    shift = 5 * torch.eye(4)[2:][torch.from_numpy(cameras)]
    centred = centred_by_camera(torch.nn.functional.normalize(persons + shift), cameras)
    torch.testing.assert_close(centred[0], centred[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(centred[0], -centred[-1], rtol=0, atol=1e-5)
    lone = centred_by_camera(persons, np.arange(-40, 0))  # no camera: one mean of all
    torch.testing.assert_close(lone[0], -lone[-1], rtol=0, atol=1e-5)
    assert metrics(cameras, cameras=cameras)["ari_cameras"] == 1


def test_state_comes_back() -> None:
    state = PseudoLabels(0.6, lambda: torch.ones(2, 3))
    state.labels, state.centres = np.array([0, 1, -1]), torch.eye(2, 3)
    other = PseudoLabels(None, lambda: torch.empty(0, 0))
    other.load_state_dict(state.state_dict())
    np.testing.assert_array_equal(other.labels, state.labels)
    assert other.eps == 0.6 and torch.equal(other.centres, state.centres)
