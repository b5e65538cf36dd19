"""Blocks of distances against FastReID's whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fasteval import Options
from fasteval.distances import blocks as distances_module
from fasteval.distances.blocks import FeatureDistances, blocks
from fastreid.utils.compute_dist import build_dist
from reid_common.errors import UserError


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    return 3 * torch.randn(13, 8), torch.randn(29, 8)


def whole(distances, block_mb: float) -> np.ndarray:
    parts = dict(blocks(distances, block_mb))
    assert list(parts) == sorted(parts)
    return np.concatenate(list(parts.values()))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_blocks_are_fastreids_matrix(metric, rows, features) -> None:
    query, gallery = features
    expected = build_dist(query, gallery, metric)
    if metric == "cosine":
        query, gallery = F.normalize(query), F.normalize(gallery)
    distances = FeatureDistances(query, gallery, metric)
    block_mb = rows * 29 * 4 / 2**20
    assert len(next(blocks(distances, block_mb))[1]) == min(rows, 13)
    np.testing.assert_allclose(whole(distances, block_mb), expected, rtol=0, atol=1e-4)
    assert expected.max() <= distances.largest


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_kept_products_give_the_same_blocks(rows, features) -> None:
    query, gallery = (F.normalize(part) for part in features)
    distances = FeatureDistances(query, gallery, "cosine")
    expected = whole(distances, 128)
    kept = distances.keep_products()
    np.testing.assert_allclose(kept, query @ gallery.T, rtol=0, atol=1e-6)
    for _, dist in blocks(distances, rows * 29 * 4 / 2**20):
        dist *= 2  # the caller's own, and nothing that is kept
    np.testing.assert_allclose(whole(distances, 1), expected, rtol=0, atol=1e-6)


def test_blocks_of_kept_products_are_small(features, monkeypatch) -> None:
    monkeypatch.setattr(distances_module, "SMALL_BLOCK_MB", 4 * 29 * 4 / 2**20)
    distances = FeatureDistances(*features, "cosine")
    assert [len(dist) for _, dist in blocks(distances, 128)] == [13]
    distances.keep_products()
    assert [len(dist) for _, dist in blocks(distances, 128)] == [4, 4, 4, 1]


def test_products_that_take_too_much_memory_are_not_kept(features, monkeypatch) -> None:
    assert FeatureDistances(*features, "euclidean").keep_products() is None
    monkeypatch.setattr(distances_module, "KEPT_MB", 13 * 29 * 4 / 2**20)
    assert FeatureDistances(*features, "cosine").keep_products() is not None
    monkeypatch.setattr(distances_module, "KEPT_MB", 13 * 29 * 4 / 2**20 - 1e-6)
    assert FeatureDistances(*features, "cosine").keep_products() is None


def test_a_block_has_one_query_at_least(features) -> None:
    distances = FeatureDistances(*features, "euclidean")
    assert [len(dist) for _, dist in blocks(distances, 1e-9)] == [1] * 13


def test_unknown_metric() -> None:
    with pytest.raises(UserError, match=r"'manhattan' is unknown; .*'cosine', 'euclidean'"):
        Options("manhattan")
