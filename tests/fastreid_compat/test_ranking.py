"""CMC, mAP, mINP and ROC against FastReID's own Python code and against plain loops."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest
import torch
from fastreid.evaluation import ReidEvaluator, rank, reid_evaluation, roc
from fastreid_compat.repairs.evaluation.ranking import rank_gallery, roc_pairs
from reid_common.errors import UserError
from sklearn import metrics


def random_set(seed, num_query=20, num_gallery=80, num_ids=6, num_cams=4, ties=True):
    """Distances and ids; with ties there are few distinct distances, some ids are missing."""
    rng = np.random.default_rng(seed)
    dist = rng.random((num_query, num_gallery)).astype(np.float32)
    if ties:
        dist = np.round(dist, 1)
    return (
        dist,
        rng.integers(0, num_ids + 2, num_query),  # the last two are not in the gallery
        rng.integers(0, num_ids, num_gallery),
        rng.integers(0, num_cams, num_query),
        rng.integers(0, num_cams, num_gallery),
    )


def loop(dist, q_pids, g_pids, q_camids, g_camids, max_rank=50):
    """Rank from the definitions, one query and one gallery image after the other."""
    curves, precisions, penalties = [], [], []
    for q in range(len(q_pids)):
        order = sorted(range(len(g_pids)), key=lambda g: (dist[q][g], g))
        hits = [
            g_pids[g] == q_pids[q]
            for g in order
            if g_pids[g] != q_pids[q] or g_camids[g] != q_camids[q]
        ]
        if not any(hits):
            continue
        at = [i + 1 for i, hit in enumerate(hits) if hit]
        curves.append([float(at[0] <= r) for r in range(1, max_rank + 1)])
        precisions.append(sum((n + 1) / r for n, r in enumerate(at)) / len(at))
        penalties.append(len(at) / at[-1])
    return np.mean(curves, axis=0), precisions, penalties


def assert_same(got, wanted):
    np.testing.assert_allclose(got[0], wanted[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(got[1], wanted[1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(got[2], wanted[2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_equals_fastreids_python_code(seed, monkeypatch):
    data = random_set(seed, num_gallery=100 + seed, num_ids=3 + seed % 4, ties=seed % 5 > 0)
    argsort = np.argsort
    stable = types.SimpleNamespace(**{k: getattr(np, k) for k in dir(np) if k[0] != "_"})
    stable.argsort = lambda a, axis: argsort(a, axis=axis, kind="stable")
    monkeypatch.setattr(rank, "np", stable)
    cmc, precisions, penalties = rank.evaluate_py(*data, 50, False)
    got = rank_gallery(*data)
    np.testing.assert_array_equal(got[0].astype(np.float32), cmc)
    np.testing.assert_allclose(got[1], precisions, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got[2], penalties, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("num_gallery", [1, 3, 9, 30, 51])
def test_equals_a_loop_for_small_galleries(seed, num_gallery):
    data = random_set(seed, num_gallery=num_gallery, num_ids=2, num_cams=1 + seed % 3)
    if not any((data[2][None] == data[1][:, None])[data[4][None] != data[3][:, None]]):
        with pytest.raises(UserError, match="None of the 20 queries"):
            rank_gallery(*data)
        return
    assert_same(rank_gallery(*data), loop(*data))


def test_hand_value():
    """Gallery in order of distance: wrong, right, dropped (own camera), wrong, right.

    Kept: wrong, right, wrong, right: AP = (1/2 + 2/4) / 2 = 0.5, INP = 2/4, CMC = 0, 1, 1, ...
    """
    dist = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])
    g_pids, g_camids = np.array([2, 1, 1, 3, 1]), np.array([0, 1, 0, 0, 1])
    cmc, precisions, penalties = rank_gallery(
        dist, np.array([1]), g_pids, np.array([0]), g_camids, max_rank=6
    )
    assert cmc.tolist() == [0, 1, 1, 1, 1, 1]
    assert precisions == [0.5]
    assert penalties == [0.5]


def test_one_identity_and_one_camera_has_nothing_to_rank():
    zeros = np.zeros(3, dtype=int)
    with pytest.raises(UserError, match="nothing to rank"):
        rank_gallery(np.zeros((3, 3)), zeros, zeros, zeros, zeros)


def test_ties_keep_the_gallery_order():
    dist = np.zeros((1, 4))
    got = rank_gallery(dist, np.array([1]), np.array([0, 0, 1, 1]), np.array([9]), np.zeros(4))
    assert got[1] == [pytest.approx((1 / 3 + 2 / 4) / 2)]


def test_nan_ranks_last_and_is_reported(caplog):
    dist = np.array([[np.nan, 0.5, 0.1]])
    got = rank_gallery(dist, np.array([1]), np.array([1, 2, 1]), np.array([9]), np.zeros(3))
    assert got[1] == [pytest.approx((1 + 2 / 3) / 2)]
    assert "diverged" in caplog.text


def test_compiled_code_is_not_used_where_its_cmc_is_wrong(monkeypatch):
    calls = []

    def evaluate_cy(distmat, *others):
        assert distmat.flags.writeable
        assert distmat.dtype == np.float32
        calls.append(distmat.shape)
        return np.ones(50, np.float32), np.ones(3, np.float32), np.ones(3, np.float32)

    monkeypatch.setattr(rank, "IS_CYTHON_AVAI", True)
    monkeypatch.setattr(rank, "evaluate_cy", evaluate_cy, raising=False)
    small, large = random_set(0, num_gallery=51), random_set(0, num_gallery=400)
    for data in (small, large):
        data[0].setflags(write=False)
    assert_same(rank.evaluate_rank(*small), loop(*small))
    assert rank.evaluate_rank(*large)[1] == [1.0] * 3
    assert calls == [(20, 400)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_roc_equals_fastreids(dtype):
    data = list(random_set(1))
    data[0] = data[0].astype(dtype)
    data[0].setflags(write=False)
    scores, labels = roc.evaluate_roc(*data)
    wanted_scores, wanted_labels = roc.evaluate_roc_py(*data)
    for label in (0, 1):
        np.testing.assert_array_equal(
            np.sort(scores[labels == label]), np.sort(wanted_scores[wanted_labels == label])
        )
    for got, wanted in zip(
        metrics.roc_curve(labels, scores),
        metrics.roc_curve(wanted_labels, wanted_scores),
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted)


def test_roc_gives_the_compiled_code_what_it_takes(monkeypatch):
    def evaluate_roc_cy(distmat, *ids):
        assert distmat.dtype == np.float32
        assert all(one.dtype == np.int64 and one.flags.writeable for one in ids)
        return roc_pairs(distmat, *ids)

    monkeypatch.setattr(roc, "IS_CYTHON_AVAI", True)
    monkeypatch.setattr(roc, "evaluate_roc_cy", evaluate_roc_cy, raising=False)
    data = [np.asarray(one) for one in random_set(1)]
    data[0] = data[0].astype(np.float64)
    for one in data:
        one.setflags(write=False)
    assert len(roc.evaluate_roc(*data)[0]) > 0


def evaluator_with(cfg, features, pids, camids, num_query):
    evaluator = ReidEvaluator(cfg, num_query)
    for i in range(0, len(pids), 3):
        batch = {
            "targets": torch.tensor(pids[i : i + 3]),
            "camids": torch.tensor(camids[i : i + 3]),
        }
        evaluator.process(batch, features[i : i + 3])
    return evaluator


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_evaluator_needs_no_compiler_and_ten_images(metric, tiny_cfg, monkeypatch):
    def compile_helper():
        raise AssertionError("make was run")

    monkeypatch.setattr(reid_evaluation, "compile_helper", compile_helper)
    tiny_cfg.TEST.METRIC = metric
    tiny_cfg.TEST.ROC.ENABLED = True
    features = torch.tensor([[1.0, 0], [0, 1], [1, 0.1], [0.1, 1], [1, 0.2]])
    results = evaluator_with(tiny_cfg, features, [1, 2, 1, 2, 3], [0, 0, 1, 1, 1], 2).evaluate()
    assert all(type(value) is float for value in results.values())
    assert json.loads(json.dumps(results))["Rank-10"] == 100.0
    assert results["mAP"] == results["mINP"] == results["metric"] == 100.0
