"""FastEvaluator against FastReID's ReidEvaluator: every way of evaluating, the same figures."""

from __future__ import annotations

import json
from collections import OrderedDict

import numpy as np
import pytest
import torch
from fasteval import Evaluation, FastEvaluator, Options, distance_blocks, evaluate_features
from fasteval.results.result_set import read_results
from fastreid.engine import DefaultTrainer
from fastreid.evaluation import ReidEvaluator
from fastreid_compat.repairs.evaluation.repeated_splits import RepeatedEvaluator, one_gallery_image
from reid_common.errors import UserError
from reid_core.run.evaluators import make_evaluator
from reid_core.run.validation import validate_config
from retrieval_sets import Ids, clustered_features, random_ids

NUM_QUERY, NUM_GALLERY = 23, 90
WAYS = {
    "plain": [],
    "AQE": ["TEST.AQE.ENABLED", True, "TEST.AQE.QE_TIME", 2, "TEST.AQE.QE_K", 4],
    "re-ranking": ["TEST.RERANK.ENABLED", True],
    "small k1": ["TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 5, "TEST.RERANK.K2", 1],
    "both": ["TEST.RERANK.ENABLED", True, "TEST.AQE.ENABLED", True, "TEST.RERANK.LAMBDA", 0.6],
}


def fill(evaluator, features: torch.Tensor, ids: Ids, batch_size: int = 10):
    """Give an evaluator everything in batches and return what it finds."""
    evaluator.reset()
    pids, camids = torch.from_numpy(ids.pids), torch.from_numpy(ids.camids)
    for start in range(0, len(features), batch_size):
        rows = slice(start, start + batch_size)
        evaluator.process({"targets": pids[rows], "camids": camids[rows]}, features[rows])
    return evaluator.evaluate()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("block_mb", [0.001, 128])
def test_figures_are_fastreids(metric, way, block_mb, fast_cfg) -> None:
    """0.001 MB are 2 queries a block; some queries have no match, some images no camera."""
    fast_cfg.merge_from_list(WAYS[way])
    fast_cfg.merge_from_list(["TEST.METRIC", metric, "TEST.ROC.ENABLED", True])
    fast_cfg.TEST.FASTEVAL.BLOCK_MB = block_mb
    for seed in range(3):
        ids = random_ids(np.random.default_rng(seed), NUM_QUERY, NUM_GALLERY, num_ids=9)
        features = clustered_features(ids.pids, 16, 0.9, seed) * (2 if metric == "cosine" else 1)
        expected = fill(ReidEvaluator(fast_cfg, NUM_QUERY), features, ids)
        got = fill(FastEvaluator(fast_cfg, NUM_QUERY), features, ids, batch_size=13)
        assert list(got) == list(expected)
        assert got == pytest.approx(expected, abs=1e-3)
        assert 0 < got["mAP"] < 100
        assert type(got) is OrderedDict
        json.dumps(got)


@pytest.mark.parametrize("num_gallery", [1, 4, 9])
@pytest.mark.parametrize("rerank", [False, True])
def test_galleries_smaller_than_ten_and_than_k1(num_gallery, rerank, fast_cfg) -> None:
    fast_cfg.TEST.RERANK.ENABLED = rerank
    pids = np.arange(5) % 2
    ids = Ids(pids, np.arange(num_gallery) % 2, np.zeros(5, int), np.ones(num_gallery, int))
    features = clustered_features(ids.pids, 8, 0.7)
    expected = fill(ReidEvaluator(fast_cfg, 5), features, ids)
    assert fill(FastEvaluator(fast_cfg, 5), features, ids) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("rerank", [False, True])
@pytest.mark.parametrize("case", ["one identity", "identical features"])
def test_degenerate_sets(case, rerank, fast_cfg) -> None:
    fast_cfg.TEST.RERANK.ENABLED = rerank
    pids = np.zeros(40, int) if case == "one identity" else np.arange(40) % 4
    camids = np.arange(40) % 3
    ids = Ids(pids[:10], pids[10:], camids[:10], camids[10:])
    features = clustered_features(ids.pids, 8, 0.5)
    if case == "identical features":
        features = features[:1].repeat(40, 1)
    expected = fill(ReidEvaluator(fast_cfg, 10), features, ids)
    assert fill(FastEvaluator(fast_cfg, 10), features, ids) == pytest.approx(expected, abs=1e-3)


def test_batches_are_copied(fast_cfg) -> None:
    """Ids of a loader's worker lie in shared memory; kept, they would use up the open files."""
    ids = Ids(np.arange(3), np.arange(3), np.zeros(3, int), np.ones(3, int))
    batch = {"targets": torch.from_numpy(ids.pids), "camids": torch.from_numpy(ids.camids)}
    evaluator = FastEvaluator(fast_cfg, 3)
    evaluator.process(batch, clustered_features(ids.pids, 8, 0.1))
    batch["targets"].zero_()
    batch["camids"].zero_()
    assert evaluator.evaluate()["Rank-1"] == 100


def test_ignored_queries_are_counted(fast_cfg, caplog) -> None:
    ids = Ids(np.array([0, 1, 7]), np.array([0, 1]), np.zeros(3, int), np.ones(2, int))
    with caplog.at_level("INFO", "fasteval"):
        fill(FastEvaluator(fast_cfg, 3), clustered_features(ids.pids, 8, 0.1), ids)
    assert "1 of the 3 queries have no match in the gallery and are ignored" in caplog.text


def test_database_augmentation_leaves_queries_alone(fast_cfg) -> None:
    """With k = 1 each gallery feature stays itself; with k = 5 clusters draw together."""
    ids = random_ids(np.random.default_rng(0), NUM_QUERY, NUM_GALLERY, num_ids=9)
    features = clustered_features(ids.pids, 16, 0.9)
    plain = fill(FastEvaluator(fast_cfg, NUM_QUERY), features, ids)
    fast_cfg.TEST.FASTEVAL.DBA.ENABLED = True
    fast_cfg.TEST.FASTEVAL.DBA.K = 1
    alone = fill(FastEvaluator(fast_cfg, NUM_QUERY), features, ids)
    assert alone == pytest.approx(plain, abs=1e-6)
    fast_cfg.TEST.FASTEVAL.DBA.K = 5
    assert fill(FastEvaluator(fast_cfg, NUM_QUERY), features, ids)["mAP"] > plain["mAP"] + 1


def test_top_k_is_the_head_of_the_ranking() -> None:
    ids = random_ids(np.random.default_rng(1), NUM_QUERY, NUM_GALLERY)
    features = clustered_features(ids.pids, 16, 0.9)
    options = Options(top_k=4, block_mb=0.001)
    found: Evaluation = evaluate_features(features, ids.pids, ids.camids, NUM_QUERY, options)
    blocks = distance_blocks(features[:NUM_QUERY], features[NUM_QUERY:], options)
    dist = np.concatenate([block for _, block in blocks])
    junk = (ids.q_pids[:, None] == ids.g_pids) & (ids.q_camids[:, None] == ids.g_camids)
    dist[junk] = np.inf
    np.testing.assert_array_equal(
        found.topk_indices, np.argsort(dist, axis=1, kind="stable")[:, :4]
    )
    np.testing.assert_allclose(found.topk_distances, np.sort(dist, axis=1)[:, :4])
    first = found.ranking.first_hit
    matches = ids.g_pids[found.topk_indices] == ids.q_pids[:, None]
    soon = (first >= 0) & (first < 4)
    np.testing.assert_array_equal(matches.any(axis=1), soon)
    np.testing.assert_array_equal(np.argmax(matches, axis=1)[soon], first[soon])


@pytest.mark.parametrize("save_format", ["npz", "parquet"])
def test_results_are_saved(save_format, fast_cfg, tmp_path) -> None:
    fast_cfg.TEST.FASTEVAL.SAVE_RESULTS = save_format
    fast_cfg.TEST.FASTEVAL.TOP_K = 6
    results = DefaultTrainer.test(fast_cfg, DefaultTrainer.build_model(fast_cfg))
    saved = read_results(tmp_path / "logs" / f"results_Market1501.{save_format}")
    assert saved.num_query == 9
    assert saved.features.shape == (27, 512)
    assert saved.topk_indices.shape == (9, 6)
    assert saved.paths[0].endswith("_c1s1_000000_00.jpg")
    assert saved.meta["dataset"] == "Market1501"
    assert saved.meta["scores"]["mAP"] == pytest.approx(results["mAP"])
    again = evaluate_features(saved.features, saved.pids, saved.camids, saved.num_query)
    assert again.figures()["mAP"] == pytest.approx(results["mAP"], abs=1e-3)


@pytest.mark.parametrize(
    "options, message",
    [
        (["TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 0], "k1=0"),
        (["TEST.RERANK.ENABLED", True, "TEST.RERANK.LAMBDA", 1.5], "lambda=1.5"),
        (["TEST.AQE.ENABLED", True, "TEST.AQE.QE_K", 0], "k=0"),
        (["TEST.METRIC", "manhattan"], "'manhattan'"),
        (["TEST.FASTEVAL.BLOCK_MB", 0], "block_mb=0"),
    ],
)
def test_values_that_cannot_be_are_refused_before_extraction(options, message, fast_cfg) -> None:
    fast_cfg.merge_from_list(options)
    with pytest.raises(UserError, match=message):
        FastEvaluator(fast_cfg, 3)


@pytest.mark.parametrize("num_query", [0, 5])
def test_queries_and_gallery_are_needed(num_query) -> None:
    with pytest.raises(UserError, match=f"{num_query} queries of 5 features"):
        evaluate_features(torch.randn(5, 2), np.zeros(5), np.zeros(5), num_query)


def test_one_key_switches_it_off(fast_cfg) -> None:
    validate_config(fast_cfg)
    made = make_evaluator(fast_cfg, "Market1501", 3)
    assert type(made) is FastEvaluator
    assert made.dataset_name == "Market1501"
    fast_cfg.TEST.EVALUATOR = "ReidEvaluator"
    assert type(make_evaluator(fast_cfg, "Market1501", 3)) is ReidEvaluator


def test_serves_repeated_splits(fast_cfg, caplog) -> None:
    fast_cfg.TEST.FASTEVAL.SAVE_RESULTS = "npz"
    ids = random_ids(np.random.default_rng(0), 5, 40, num_absent=0)
    ids.q_camids, ids.g_camids = np.arange(5), 5 + np.arange(40)
    features = clustered_features(ids.pids, 8, 0.9)
    found = [
        fill(RepeatedEvaluator(one_gallery_image, 3, lambda n, cls=cls: cls(fast_cfg, n)),
             features, ids)
        for cls in (FastEvaluator, ReidEvaluator)
    ]  # fmt: skip
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert found[0]["mAP_std"] > 0
    assert "none are saved" in caplog.text
