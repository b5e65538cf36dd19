"""Scores by identity and by pair of cameras, held against loops over FastReID's ranking."""

from __future__ import annotations

import numpy as np
import pytest
from fasteval.analysis.cosines import mean_cosines
from fasteval.analysis.groups import CameraPairRanking, CameraPairs, identity_scores
from fastreid.evaluation.rank import evaluate_py
from reid_core.side_information.rows import FIRST_WITHOUT_CAMERA

NUM_QUERY, NUM_GALLERY = 40, 90


def some_ids() -> dict[str, np.ndarray]:
    """Ids of queries and gallery; 7 is an identity without a match.

    Cameras are 0, 1, and 4 which the model does not know; of some images no camera is known.
    """
    rng = np.random.default_rng(0)
    cameras = np.array([-5, 0, 1, FIRST_WITHOUT_CAMERA])
    ids = {
        "q_pids": rng.integers(0, 8, NUM_QUERY),
        "q_camids": rng.choice(cameras, NUM_QUERY),
        "g_pids": rng.integers(0, 7, NUM_GALLERY),
        "g_camids": rng.choice(cameras, NUM_GALLERY),
    }
    assert (ids["q_pids"] == 7).any()
    for number, name in enumerate(("q_camids", "g_camids")):
        own = FIRST_WITHOUT_CAMERA - 100 * number - np.arange(len(ids[name]))
        ids[name] = np.where(ids[name] == FIRST_WITHOUT_CAMERA, own, ids[name])
    return ids


def some_distances() -> np.ndarray:
    """With ties."""
    return np.random.default_rng(1).integers(0, 25, (NUM_QUERY, NUM_GALLERY)).astype(np.float32)


def naive_pairs(distances: np.ndarray, ids: dict[str, np.ndarray]) -> dict[tuple, list]:
    """AP and hit at the first rank of every query, by its camera and each camera of the gallery."""
    # FastReID's argsort is not stable; a stable order is what equal distances are given here.
    order = np.argsort(np.argsort(distances, axis=1, kind="stable"), axis=1).astype(np.float32)
    found: dict[tuple, list] = {}
    for query in range(NUM_QUERY):
        own = max(ids["q_camids"][query], FIRST_WITHOUT_CAMERA)
        shown = np.maximum(ids["g_camids"], FIRST_WITHOUT_CAMERA)
        for camera in (0, 1, -5, FIRST_WITHOUT_CAMERA):
            same, there = ids["g_pids"] == ids["q_pids"][query], shown == camera
            if not (same & there).any() or (own == camera and own != FIRST_WITHOUT_CAMERA):
                continue
            columns = there | ~same
            cmc, aps, _ = evaluate_py(
                order[query : query + 1, columns],
                ids["q_pids"][query : query + 1],
                ids["g_pids"][columns],
                ids["q_camids"][query : query + 1],
                ids["g_camids"][columns],
                1,
                False,
            )
            found.setdefault((own, camera), []).append((aps[0], cmc[0]))
    return found


def camera_pairs(distances: np.ndarray, ids: dict[str, np.ndarray], block: int) -> CameraPairs:
    ranking = CameraPairRanking(**ids)
    for start in range(0, NUM_QUERY, block):
        ranking.add(distances[start : start + block], start)
    return ranking.result()


@pytest.mark.parametrize("block", [7, NUM_QUERY])
def test_camera_pairs_are_those_of_a_loop(block: int) -> None:
    ids, distances = some_ids(), some_distances()
    pairs = camera_pairs(distances, ids, block)
    expected = naive_pairs(distances, ids)
    cameras = [0, 1, -5, FIRST_WITHOUT_CAMERA]
    assert pairs.query_cameras.tolist() == pairs.gallery_cameras.tolist() == cameras
    for row, query_camera in enumerate(pairs.query_cameras):
        for column, gallery_camera in enumerate(pairs.gallery_cameras):
            values = expected.pop((query_camera, gallery_camera), [])
            assert pairs.num_queries[row, column] == len(values)
            if values:
                ap, first = np.mean(values, axis=0)
                assert pairs.ap[row, column] == pytest.approx(ap, abs=1e-6)
                assert pairs.rank1[row, column] == pytest.approx(first)
            else:
                assert np.isnan(pairs.ap[row, column]) and np.isnan(pairs.rank1[row, column])
    assert not expected


def test_worst_pairs_come_first() -> None:
    pairs = camera_pairs(some_distances(), some_ids(), NUM_QUERY)
    scores = [pairs.ap[pair] for pair in pairs.worst()]
    assert len(scores) == 13 and scores == sorted(scores)  # 4 x 4 less three of one camera each


def test_one_camera_has_no_pair() -> None:
    ids = {name: np.zeros(3, int) for name in ("q_pids", "q_camids", "g_pids", "g_camids")}
    ranking = CameraPairRanking(**ids)
    ranking.add(np.zeros((3, 3), np.float32), 0)
    pairs = ranking.result()
    assert np.isnan(pairs.ap).all() and pairs.worst() == []


def test_identities() -> None:
    """5 has APs 0.5 and 1; 2 and 9 have 0.25 each, so that their numbers decide; 7 has no match."""
    scores = identity_scores(
        ap=np.array([0.5, 0.25, 1.0, np.nan, 0.25]),
        first_hit=np.array([1, 3, 0, -1, 3]),
        pids=np.array([5, 9, 5, 7, 2]),
    )
    assert scores.pids.tolist() == [2, 9, 5] and scores.num_queries.tolist() == [1, 1, 2]
    assert scores.ap.tolist() == [0.25, 0.25, 0.75]
    assert scores.rank1.tolist() == [0, 0, 0.5]
    assert scores.first_hit.tolist() == [4, 4, 1.5]


def test_no_identity_has_a_match() -> None:
    none = identity_scores(np.array([np.nan]), np.array([-1]), np.array([3]))
    assert len(none.pids) == 0


def test_mean_cosines_are_those_of_a_loop_over_pairs() -> None:
    """Of any length, one of them zeros; distractors, which no query shares, do not count."""
    rng = np.random.default_rng(2)
    features = rng.normal(1, 2, (30, 5)).astype(np.float32)
    features[4] = 0
    pids = np.concatenate([rng.integers(0, 4, 20), np.zeros(3, int), np.full(7, 9)])
    assert pids[4] in pids[np.arange(30) != 4]
    lengths = np.linalg.norm(features, axis=1)
    cosines = features @ features.T / np.maximum(np.outer(lengths, lengths), 1e-12)
    pairs = [(a, b) for a in range(23) for b in range(23) if a != b]
    found = mean_cosines(features, pids, num_query=8)
    assert {*pids[:8].tolist()} == {0, 1, 2, 3}
    same = np.mean([cosines[pair] for pair in pairs if pids[pair[0]] == pids[pair[1]]])
    different = np.mean([cosines[pair] for pair in pairs if pids[pair[0]] != pids[pair[1]]])
    assert found.same == pytest.approx(same, abs=1e-6)
    assert found.different == pytest.approx(different, abs=1e-6)


def test_cosines_of_pairs_that_do_not_exist() -> None:
    alone = mean_cosines(np.eye(2), np.array([0, 1]), num_query=2)
    assert alone.same is None and alone.different == 0
    one = mean_cosines(np.ones((3, 2)), np.zeros(3, int), num_query=1)
    assert one.same == pytest.approx(1) and one.different is None
