"""The nearest neighbours, pruned, by faiss and by torch, against a sort of all distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fasteval.neighbours import (
    bounds as neighbours_bounds,
)
from fasteval.neighbours import (
    nearest as neighbours,
)
from fasteval.neighbours import (
    pruned as neighbours_pruned,
)
from fasteval.neighbours.bounds import RoundedScores, fast_dtype
from fasteval.neighbours.nearest import nearest
from fasteval.neighbours.pruned import faiss_search, pruned_search

DTYPES = [torch.bfloat16, torch.float32]
METRICS = ["euclidean", "inner_product"]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch) -> None:
    """Small sets have many tiles, too."""
    for name, value in {"TILE": 16, "CLASSES": 8, "MOST": 64, "PRUNE_ABOVE": 24}.items():
        monkeypatch.setattr(neighbours_pruned, name, value)


def sorted_pairs(features: torch.Tensor, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Values (N, N) in float64, the nearest first, and their order; ties by index."""
    exact = features.double().numpy()
    if metric == "euclidean":
        values = np.square(exact[:, None] - exact).sum(2)
        order = values.argsort(1, kind="stable")
    else:
        values = exact @ exact.T
        order = (-values).argsort(1, kind="stable")
    return np.take_along_axis(values, order, 1), order


def assert_is_the_head_of_a_sort(found, features: torch.Tensor, k: int, metric: str) -> None:
    values, order = sorted_pairs(features, metric)
    np.testing.assert_array_equal(found[1], order[:, :k])
    np.testing.assert_allclose(found[0], values[:, :k], rtol=1e-4, atol=1e-4)
    assert found[0].dtype == np.float32 and found[1].dtype == np.int64


def clusters(count: int, dim: int, noise: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, dim, generator=generator)
    points = centres[torch.randint(5, (count,), generator=generator)]
    return points + noise * torch.randn(count, dim, generator=generator)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block_mb", [0.001, 128])
def test_torchs_search(metric, block_mb) -> None:
    """It is what a GPU runs; it gives the same on the CPU."""
    features = clusters(40, 6, 1.0, 0)
    found = neighbours._torch_search(features, 7, metric, block_mb)
    assert_is_the_head_of_a_sort(found, features, 7, metric)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count, dim, k", [(8, 3, 8), (16, 5, 1), (17, 6, 7), (150, 12, 6)])
@pytest.mark.parametrize("noise", [0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_pruned_search(dtype, metric, count, dim, k, noise, seed) -> None:
    features = clusters(count, dim, noise, seed)
    assert_is_the_head_of_a_sort(pruned_search(features, k, metric, dtype), features, k, metric)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_ties_are_in_order_of_the_index(dtype, metric, seed, monkeypatch) -> None:
    """Small integers: all values are exact in float32, and most have ties and copies."""
    monkeypatch.setattr(neighbours_pruned, "MOST", 1000)  # faiss orders equal products otherwise
    features = torch.randint(-2, 3, (120, 3), generator=torch.Generator().manual_seed(seed)).float()
    found = pruned_search(features, 6, metric, dtype)
    assert_is_the_head_of_a_sort(found, features, 6, metric)
    if metric == "euclidean":  # faiss, thus FastReID, breaks these ties likewise
        np.testing.assert_array_equal(found[1], faiss_search(*[features.numpy()] * 2, 6, metric)[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("copies", [100, 9])
def test_images_with_too_many_candidates_are_left_to_faiss(dtype, metric, copies) -> None:
    features = clusters(100 // copies + 1, 8, 1.0, 0).repeat(copies, 1)
    expected = faiss_search(*[features.numpy()] * 2, 5, metric)
    values, indices = pruned_search(features, 5, metric, dtype)
    np.testing.assert_allclose(values, expected[0], rtol=0, atol=1e-5)
    if metric == "euclidean":
        np.testing.assert_array_equal(indices, expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset, spread", [(0.0, 1.0), (3.0, 1e-2), (0.3, 100.0)])
def test_what_rounding_would_confuse(dtype, metric, offset, spread) -> None:
    """Distances nearer to one another than bfloat16 tells apart, lengths that differ."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.rand(200, 1, generator=generator).add(0.5)
    features = offset + spread * lengths * torch.randn(200, 32, generator=generator)
    values, indices = pruned_search(features, 8, metric, dtype)
    exact = sorted_pairs(features, metric)[0][:, :8]
    # Neighbours may swap where float32 cannot tell them apart, but none that is nearer is missed.
    largest = float(features.square().sum(1).max())
    np.testing.assert_allclose(values, exact, rtol=1e-6, atol=1e-6 * largest)
    assert all(len(set(row)) == 8 for row in indices.tolist())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [3, 64, 768])
def test_scores_are_within_their_errors(dtype, metric, dim) -> None:
    """But for a constant of each row, which cannot change an order."""
    features = clusters(64, dim, 1.0, 2) * torch.linspace(0.1, 2, 64)[:, None] + 0.3
    scores = RoundedScores(features, metric, dtype, 64)
    [(_, got)] = scores.stripe(0)
    got = got.double().numpy()
    exact = features.double().numpy()
    wanted = exact @ exact.T
    if metric == "euclidean":
        wanted = -np.square(exact[:, None] - exact).sum(2) / 2
    difference = got - wanted
    rounding = np.abs(got) * torch.finfo(dtype).eps * 0.51
    allowed = scores.errors.double().numpy()[:, None] + rounding
    lowest, highest = (difference - allowed).max(1), (difference + allowed).min(1)
    assert (lowest <= highest).all()  # one constant suits all
    # The bound is of use: far below the scores themselves
    assert scores.errors.max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_first", [10, 16, 40, 64, 100])
@pytest.mark.parametrize("offset, made", [(0.0, True), (1e3, False)])
def test_known_products_are_not_made_again(dtype, num_first, offset, made, monkeypatch) -> None:
    """Unless the mean is far from 0; 110 features are 7 tiles of 16, the last one not full."""
    features = clusters(110, 6, 1.0, 4) + offset
    features[3] = features[-1]  # a tie across the border
    known = features[:num_first] @ features[num_first:].T
    before, rows = neighbours_bounds.products, []
    monkeypatch.setattr(
        neighbours_bounds, "products", lambda *args: rows.append(len(args[0])) or before(*args)
    )
    found = pruned_search(features, 7, "euclidean", dtype, known)
    full_columns = 7 - -(-num_first // 16)
    assert sum(rows) == 28 * 16 - made * num_first * full_columns
    if made:
        assert_is_the_head_of_a_sort(found, features, 7, "euclidean")
    alone = pruned_search(features, 7, "euclidean", dtype)
    np.testing.assert_array_equal(found[1], alone[1])
    np.testing.assert_array_equal(found[0], alone[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_known_products_are_within_their_errors(dtype) -> None:
    features = clusters(128, 64, 1.0, 2) * torch.linspace(0.1, 2, 128)[:, None] + 0.3
    first, second = features.tensor_split(2)
    scores = RoundedScores(features, "euclidean", dtype, 64, first @ second.T)
    got = [block.double().numpy().copy() for _, block in scores.stripe(0)][1]
    again = RoundedScores(features, "euclidean", dtype, 64)
    centred = [block.double().numpy().copy() for _, block in again.stripe(0)][1]
    rounding = (np.abs(got) + np.abs(centred)) * torch.finfo(dtype).eps * 0.51
    allowed = (scores.errors + again.errors).double().numpy()[:64, None] + rounding
    assert (np.abs(got - centred) <= allowed).all()
    assert not np.array_equal(got, centred)  # they are other numbers indeed


@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest_is_faiss_of_many_features(dtype, monkeypatch) -> None:
    """The real tiles: several of them, the last one not full."""
    monkeypatch.undo()
    monkeypatch.setattr(neighbours, "fast_dtype", lambda: dtype)
    features = torch.nn.functional.normalize(clusters(2500, 32, 2.0, 0), dim=1)
    values, indices = nearest(features, 20, "euclidean")
    expected, order = faiss_search(*[features.numpy()] * 2, 20, "euclidean")
    np.testing.assert_allclose(values, expected, rtol=0, atol=2e-6)
    # Where they differ, faiss's last bits do
    assert (indices != order).mean() < 1e-3


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e15, 1e-25])
def test_numbers_without_a_bound_are_left_to_faiss(factor, monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "FEW", 2)
    monkeypatch.setattr(neighbours, "pruned_search", None)
    features = clusters(40, 4, 1.0, 0)
    features[3] *= factor
    features = features if factor > 1 or factor != factor else features * factor
    found = nearest(features, 3, "euclidean")
    expected = faiss_search(*[features.numpy()] * 2, 3, "euclidean")
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_fast_dtype_is_one_that_is_known() -> None:
    assert fast_dtype() in DTYPES


@pytest.mark.parametrize("k", [0, 41])
def test_k_beyond_the_data_base_is_an_error(k) -> None:
    with pytest.raises(ValueError, match=f"k={k} neighbours of 40 features"):
        nearest(torch.randn(40, 3), k, "euclidean")
