"""The nearest neighbours by faiss and by torch, against a sort of all distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fasteval import neighbours
from fasteval.neighbours import nearest


@pytest.mark.parametrize("search", ["_faiss_search", "_torch_search"])
@pytest.mark.parametrize("metric", ["euclidean", "inner_product"])
@pytest.mark.parametrize("block", [3, 4096])
def test_is_the_head_of_a_sort(search, metric, block, monkeypatch) -> None:
    """torch's search is what a GPU runs; it gives the same on the CPU."""
    monkeypatch.setattr(neighbours, "_faiss_search", getattr(neighbours, search))
    monkeypatch.setattr(neighbours, "FAISS_BLOCK", block)
    queries, database = torch.randn(10, 6), torch.randn(40, 6)
    if metric == "euclidean":
        wanted = torch.cdist(queries, database).square()
    else:
        wanted = -queries @ database.t()
    values, indices = nearest(queries, database, 7, metric)
    order = wanted.argsort(dim=1)[:, :7]
    np.testing.assert_array_equal(indices, order)
    sign = 1 if metric == "euclidean" else -1
    np.testing.assert_allclose(values, sign * wanted.gather(1, order), rtol=0, atol=1e-4)


@pytest.mark.parametrize("k", [0, 41])
def test_k_beyond_the_data_base_is_an_error(k) -> None:
    with pytest.raises(ValueError, match=f"k={k} neighbours of 40 features"):
        nearest(torch.randn(2, 3), torch.randn(40, 3), k, "euclidean")
