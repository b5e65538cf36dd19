"""Each path that a GPU takes against the same on the CPU, which other tests hold against FastReID.

Two images that are equally near but for the last bit of a float32 may swap: a few differences are
allowed where an order decides.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fasteval import Evaluation, FastEvaluator, Options, Rerank, distance_blocks, evaluate_features
from fasteval.distances.blocks import FeatureDistances
from fasteval.distances.expansion import Expansion, expand
from fasteval.distances.jaccard import JaccardDistances
from fasteval.neighbours.nearest import nearest
from fasteval.products import products
from retrieval_sets import Ids, clustered_features, random_ids

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")

DEVICE = "cuda"
NUM_QUERY, NUM_GALLERY = 60, 1_140  # more than faiss searches on the CPU
WAYS = {
    "plain": Options(),
    "euclidean": Options(metric="euclidean"),
    "re-ranking": Options(rerank=Rerank()),
    "small k1": Options(rerank=Rerank(k1=5, k2=1)),
    "AQE": Options(aqe=Expansion(k=5, times=2)),
    "all": Options(rerank=Rerank(), aqe=Expansion(k=4), dba=Expansion(k=3), roc=True, top_k=9),
}


def assert_nearly_all_agree(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    assert np.isclose(got, expected, rtol=0, atol=1e-5).mean() > 0.995


@pytest.fixture
def ids() -> Ids:
    return random_ids(np.random.default_rng(0), NUM_QUERY, NUM_GALLERY, num_ids=60)


@pytest.fixture
def features(ids) -> torch.Tensor:
    return clustered_features(ids.pids, 64, 2.0)


@pytest.mark.parametrize("metric", ["euclidean", "inner_product"])
@pytest.mark.parametrize("k", [1, 20, 100])
@pytest.mark.parametrize("block_mb", [0.1, 128])
def test_neighbours(metric, k, block_mb, features) -> None:
    expected, order = nearest(features, k, metric)
    values, indices = nearest(features.to(DEVICE), k, metric, block_mb)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)
    assert_nearly_all_agree(indices, order)
    assert values.dtype == np.float32 and indices.dtype == np.int64


def test_neighbours_of_few_and_of_copies() -> None:
    features = clustered_features(np.arange(4), 8, 0.5).repeat(3, 1)
    expected, _ = nearest(features, 12, "euclidean")
    values, indices = nearest(features.to(DEVICE), 12, "euclidean")
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)
    assert (np.sort(indices, axis=1) == np.arange(12)).all()
    assert (indices[:, :3] % 4 == np.arange(12)[:, None] % 4).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances(metric, features) -> None:
    on_gpu = features.to(DEVICE)
    expected = FeatureDistances(features[:NUM_QUERY], features[NUM_QUERY:], metric)
    got = FeatureDistances(on_gpu[:NUM_QUERY], on_gpu[NUM_QUERY:], metric)
    np.testing.assert_allclose(got.rows(7, 31), expected.rows(7, 31), rtol=0, atol=1e-5)
    assert got.rows(0, 1).dtype == np.float32
    assert got.largest == pytest.approx(expected.largest, rel=1e-5)


def test_products_into_a_tensor_that_is_there(features) -> None:
    on_gpu = features.to(DEVICE)
    out = torch.empty(3, 5, device=DEVICE)
    assert products(on_gpu[:3], on_gpu[:5], out) is out
    torch.testing.assert_close(out.cpu(), products(features[:3], features[:5]))


@pytest.mark.parametrize("how", [Expansion(k=1), Expansion(k=7, alpha=2.0, times=3)])
def test_expansion(how, features) -> None:
    got = expand(features.to(DEVICE), how, block_mb=0.1)
    assert got.device.type == DEVICE
    torch.testing.assert_close(got.cpu(), expand(features, how), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k1, k2", [(20, 6), (7, 1), (80, 9)])
def test_jaccard_distances(k1, k2, features) -> None:
    expected = JaccardDistances(features, NUM_QUERY, k1, k2).rows(0, NUM_QUERY)
    got = JaccardDistances(features.to(DEVICE), NUM_QUERY, k1, k2, block_mb=0.1)
    assert_nearly_all_agree(got.rows(0, NUM_QUERY), expected)


def on(device: str, options: Options) -> Options:
    return Options(**{**vars(options), "device": device, "block_mb": 0.02})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given_on", ["cpu", DEVICE])
def test_evaluation(way, given_on, features, ids) -> None:
    """Features come from a file, or from a model on the GPU."""

    def evaluated(device: str, given: torch.Tensor) -> Evaluation:
        options = on(device, WAYS[way])
        return evaluate_features(given, ids.pids, ids.camids, NUM_QUERY, options)

    expected, got = evaluated("cpu", features), evaluated(DEVICE, features.to(given_on))
    assert got.figures() == pytest.approx(expected.figures(), abs=0.01)
    assert_nearly_all_agree(got.ranking.first_hit, expected.ranking.first_hit)
    assert got.topk_indices.shape == expected.topk_indices.shape
    swapped = np.count_nonzero(got.topk_indices != expected.topk_indices)
    assert swapped <= 0.005 * got.topk_indices.size


def test_features_on_the_gpu_are_evaluated_on_the_cpu(features, ids) -> None:
    options = on("cpu", WAYS["re-ranking"])
    got = evaluate_features(features.to(DEVICE), ids.pids, ids.camids, NUM_QUERY, options)
    expected = evaluate_features(features, ids.pids, ids.camids, NUM_QUERY, options)
    assert got.figures() == expected.figures()


def test_blocks_of_distances(features) -> None:
    blocks = [
        dict(
            distance_blocks(
                features[:NUM_QUERY].to(device),
                features[NUM_QUERY:].to(device),
                on(device, WAYS["re-ranking"]),
            )
        )
        for device in ("cpu", DEVICE)
    ]
    assert list(blocks[0]) == list(blocks[1])
    expected, got = (np.concatenate(list(part.values())) for part in blocks)
    assert_nearly_all_agree(got, expected)


@pytest.mark.parametrize("rerank", [False, True])
@pytest.mark.parametrize("key", ["MODEL.DEVICE", "TEST.FASTEVAL.DEVICE"])
def test_evaluator(rerank, key, features, ids, fast_cfg) -> None:
    """Batches of a model on the GPU, through the config."""
    fast_cfg.merge_from_list(["MODEL.DEVICE", "cpu", "TEST.ROC.ENABLED", True])
    fast_cfg.TEST.RERANK.ENABLED = rerank
    figures = []
    for device in ("cpu", DEVICE):
        fast_cfg.merge_from_list([key, device])
        evaluator = FastEvaluator(fast_cfg, NUM_QUERY)
        assert evaluator.options.device.startswith(device)
        for rows in torch.arange(len(features)).split(100):
            batch = {"targets": torch.from_numpy(ids.pids)[rows].to(device)}
            batch["camids"] = torch.from_numpy(ids.camids)[rows].to(device)
            evaluator.process(batch, features[rows].to(device))
        figures.append(evaluator.evaluate())
    assert figures[1] == pytest.approx(figures[0], abs=0.01)
    assert 0 < figures[0]["mAP"] < 100
