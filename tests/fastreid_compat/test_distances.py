"""Distances against plain formulas; Jaccard against a loop written from the paper's equations."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from fastreid.evaluation import ReidEvaluator, reid_evaluation
from fastreid.evaluation.query_expansion import aqe
from fastreid.utils import compute_dist
from fastreid.utils.compute_dist import build_dist, compute_jaccard_distance
from fastreid_compat.repairs.evaluation import distances


def clusters(num_images=30, num_ids=5, dim=8, seed=0):
    """Features (N, D) around one centre per identity, and the identities (N,)."""
    generator = torch.Generator().manual_seed(seed)
    pids = torch.arange(num_images) % num_ids
    centres = torch.randn(num_ids, dim, generator=generator)
    return centres[pids] + 0.4 * torch.randn(num_images, dim, generator=generator), pids


def jaccard_by_hand(features, k1, k2):
    """Zhong et al., CVPR 2017: reciprocal neighbours, expansion, weights, Jaccard of the weights.

    As in FastReID the k1 neighbours include the image itself, half of k1 rounds to even, weights
    sum to one, and distances are squared.
    """
    x = features.double().numpy()
    size = len(x)
    k1, k2 = min(k1, size), min(k2, size)
    dist = ((x[:, None] - x[None]) ** 2).sum(-1)
    order = np.argsort(dist, axis=1, kind="stable")

    def neighbours(i, k):
        return set(order[i][: min(k, k1)].tolist())

    def reciprocal(i, k):
        return {j for j in neighbours(i, k) if i in neighbours(j, k)}

    weights = np.zeros((size, size))
    for i in range(size):
        own = reciprocal(i, k1 + 1)
        expanded = set(own)
        for j in own:
            other = reciprocal(j, int(np.around(k1 / 2)) + 1)
            if len(own & other) > 2 / 3 * len(other):
                expanded |= other
        for j in expanded:
            weights[i, j] = np.exp(-dist[i, j])
        weights[i] /= max(weights[i].sum(), 1e-300)
    if k2 != 1:
        weights = np.stack([weights[list(order[i][:k2])].mean(0) for i in range(size)])
    result = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            smaller = np.minimum(weights[i], weights[j]).sum()
            larger = np.maximum(weights[i], weights[j]).sum()
            result[i, j] = 1 - smaller / larger
    return result


@pytest.mark.parametrize(("k1", "k2"), [(10, 4), (7, 1), (20, 6), (30, 6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_jaccard_equals_the_papers_equations(k1, k2, seed):
    features, _ = clusters(seed=seed)
    got = compute_jaccard_distance(features, k1=k1, k2=k2)
    np.testing.assert_allclose(got, jaccard_by_hand(features, k1, k2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 6])
def test_jaccard_of_fewer_images_than_k1(size):
    """FastReID takes faiss's -1 (no further neighbour) for the index of the last image."""
    features, _ = clusters(size, 3)
    got = compute_jaccard_distance(features, k1=20, k2=6)
    np.testing.assert_allclose(got, jaccard_by_hand(features, 20, 6), rtol=0, atol=1e-5)


def test_jaccard_keeps_the_gpu_path_where_it_works(monkeypatch):
    used = []
    monkeypatch.setattr(distances, "gpu_search_works", lambda: True)
    monkeypatch.setattr(
        compute_dist, "search_raw_array_pytorch", lambda *args: used.append(args[-1]), raising=True
    )
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)

    class Resources:
        def setDefaultNullStreamAllDevices(self):
            used.append("gpu")

    monkeypatch.setattr(compute_dist.faiss, "StandardGpuResources", Resources, raising=False)
    with pytest.raises(TypeError):  # our stand-in of the search returns None
        compute_jaccard_distance(clusters()[0], k1=20, k2=6)
    assert used == ["gpu", 20]


def test_euclidean_is_the_squared_distance_without_a_warning():
    one, other = clusters(12)[0], clusters(7, seed=1)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = build_dist(one, other, "euclidean")
    np.testing.assert_allclose(got, torch.cdist(one, other).square(), rtol=1e-4, atol=1e-5)


def test_cosine_distance():
    one, other = clusters(12)[0], clusters(7, seed=1)[0]
    wanted = 1 - torch.nn.functional.cosine_similarity(one[:, None], other[None], dim=2)
    np.testing.assert_allclose(build_dist(one, other, "cosine"), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [2, 5, 12])
def test_expansion_equals_a_loop_and_takes_small_sets(size):
    features = clusters(size)[0]
    query, gallery = aqe(features[:1], features[1:], qe_times=1, qe_k=5, alpha=3.0)
    unit = torch.nn.functional.normalize(features)
    for i, got in enumerate(torch.cat((query, gallery))):
        similarity = unit @ unit[i]
        nearest = similarity.argsort(descending=True)[: min(5, size - 1)]
        wanted = (features[nearest] * similarity[nearest, None] ** 3).mean(0)
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("expand", [False, True])
def test_evaluator_with_reranking(metric, expand, tiny_cfg):
    tiny_cfg.TEST.METRIC = metric
    tiny_cfg.TEST.RERANK.ENABLED = True
    tiny_cfg.TEST.AQE.ENABLED = expand
    features, pids = clusters(25)
    evaluator = ReidEvaluator(tiny_cfg, 5)
    camids = torch.arange(25) // 5
    evaluator.process({"targets": pids, "camids": camids}, features)
    results = evaluator.evaluate()
    assert results["Rank-1"] == 100.0
    assert 80 < results["mAP"] <= 100
    assert reid_evaluation.build_dist is build_dist
