"""Exact search against a naive ranking."""

from __future__ import annotations

import numpy as np
import pytest
from reid_common.errors import UserError
from transreid.inference import search
from transreid.inference.feature_files import FeatureSet


def features(names: str, seed: int, dim: int = 6, **meta: object) -> FeatureSet:
    values = np.random.default_rng(seed).normal(size=(len(names), dim)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return FeatureSet(list(names), values, pids=np.arange(len(names)), meta=meta)


@pytest.mark.parametrize("keep_self", [False, True])
@pytest.mark.parametrize("top", [1, 4, 30])
def test_ranking_is_the_naive_one(monkeypatch, keep_self, top) -> None:
    monkeypatch.setattr(search, "BLOCK", 5)  # several blocks of queries and of the gallery
    query, gallery = features("abcdefgh", seed=0), features("xyzabca", seed=1)
    ranking = search.rank_gallery(query, gallery, top, keep_self)
    assert ranking.indices.shape == ranking.similarities.shape == (8, top)
    for row, path in enumerate(query.paths):
        scores = gallery.features @ query.features[row]
        kept = [g for g in range(7) if keep_self or gallery.paths[g] != path]
        expected = sorted(kept, key=lambda g: -scores[g])[:top]
        found = ranking.indices[row]
        np.testing.assert_array_equal(found[: len(expected)], expected)
        np.testing.assert_allclose(
            ranking.similarities[row, : len(expected)], scores[expected], rtol=1e-5, atol=1e-6
        )
        assert (found[len(expected) :] == -1).all()
        assert np.isneginf(ranking.similarities[row, len(expected) :]).all()
    np.testing.assert_array_equal(ranking.query_pids, query.pids)
    np.testing.assert_array_equal(ranking.gallery_pids, gallery.pids)


def test_equal_images_come_in_the_order_of_the_gallery() -> None:
    query = features("q", seed=0)
    gallery = FeatureSet(list("abcd"), np.repeat(query.features, 4, axis=0))
    np.testing.assert_array_equal(search.rank_gallery(query, gallery, 4).indices, [[0, 1, 2, 3]])


def test_a_path_is_the_same_file_however_it_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    query, gallery = features("a", seed=0), features("ab", seed=0)
    gallery.paths = [str(tmp_path / "a"), "./b"]
    np.testing.assert_array_equal(search.rank_gallery(query, gallery, 2).indices, [[1, -1]])


def test_what_cannot_be_compared_is_refused() -> None:
    query = features("ab", seed=0, weights_sha256="1", config={"a": [1]})
    cases = [
        (features("ab", seed=0, dim=5), "6 numbers, gallery features 5"),
        (features("ab", seed=0, weights_sha256="2"), "another weights file"),
        (features("ab", seed=0, config={"a": [2]}, weights_sha256="1"), "another config"),
        (FeatureSet([], np.empty((0, 6), np.float32)), "the gallery holds no features"),
    ]
    for gallery, message in cases:
        with pytest.raises(UserError, match=message):
            search.rank_gallery(query, gallery)
    with pytest.raises(UserError, match="top is 0"):
        search.rank_gallery(query, query, top=0)
