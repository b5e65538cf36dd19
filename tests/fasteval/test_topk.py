"""The ranked top of the gallery: against a stable sort with the junk taken out."""

from __future__ import annotations

import numpy as np
import pytest
from fasteval.ranking import metrics
from fasteval.ranking.metrics import GalleryRanker, nearest_kept


def naive(dist: np.ndarray, junk: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    indices, distances = np.full((len(dist), k), -1), np.full((len(dist), k), np.inf)
    for row in range(len(dist)):
        order = np.argsort(dist[row], kind="stable")
        order = order[~junk[row, order]][:k]
        indices[row, : len(order)], distances[row, : len(order)] = order, dist[row, order]
    return indices, distances


@pytest.mark.parametrize("k", [1, 5, 12, 30])
@pytest.mark.parametrize("levels", [1, 3, 1000])
@pytest.mark.parametrize("group_size", [2, 64])
def test_is_a_stable_sort_without_junk(k: int, levels: int, group_size: int, monkeypatch) -> None:
    """12 gallery images, few levels = many ties, some distances infinite, k beyond the gallery."""
    monkeypatch.setattr(metrics, "GROUP_SIZE", group_size)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        dist = rng.integers(0, levels, (9, 12)).astype(np.float32)
        dist[rng.random(dist.shape) < 0.15] = np.inf
        q_pids, g_pids = rng.integers(0, 3, 9), rng.integers(0, 3, 12)
        q_camids, g_camids = rng.integers(0, 2, 9), rng.integers(0, 2, 12)
        ranker = GalleryRanker(q_pids, g_pids, q_camids, g_camids)
        junk = (q_pids[:, None] == g_pids) & (q_camids[:, None] == g_camids)
        before = dist.copy()
        for start, stop in ((0, 4), (4, 9)):
            found = nearest_kept(dist[start:stop], ranker.pairs(start, stop), k)
            expected = naive(dist[start:stop], junk[start:stop], k)
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1].astype(np.float32))
        np.testing.assert_array_equal(dist, before)
