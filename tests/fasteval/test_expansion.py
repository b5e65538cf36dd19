"""Expansion against FastReID's ``aqe``, and on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fasteval.distances import expansion
from fasteval.distances.expansion import Expansion, expand
from fastreid.evaluation.query_expansion import aqe
from reid_common.errors import UserError
from retrieval_sets import clustered_features


@pytest.mark.parametrize("k, alpha, times", [(10, 3.0, 1), (3, 1.0, 2), (1, 2.0, 3), (99, 3.0, 1)])
@pytest.mark.parametrize("gathered", [1, 2**24])
def test_is_fastreids(k, alpha, times, gathered, monkeypatch) -> None:
    monkeypatch.setattr(expansion, "GATHERED", gathered)
    pids = np.arange(37) % 8
    features = 2 * clustered_features(pids, 12, 0.5)
    expected = torch.cat(aqe(features[:9], features[9:], times, k, alpha))
    got = expand(features, Expansion(k, alpha, times))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_hand_value() -> None:
    """k = 2 of 3: the nearest of (1, 0) is (0.6, 0.8) at cosine 0.6, of (0, 1) it is at 0.8.

    Mean of (1, 0) and 0.6 (0.6, 0.8): (1.36, 0.48) / 2; the middle one has (0, 1) at 0.8.
    """
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    got = expand(features, Expansion(k=2, alpha=1.0))
    wanted = torch.tensor([[1.36, 0.48], [0.6, 1.6], [0.48, 1.64]]) / 2
    torch.testing.assert_close(got, wanted)


def test_a_single_feature_has_no_neighbours() -> None:
    feature = torch.tensor([[3.0, 4.0]])
    got = expand(feature, Expansion())
    assert torch.equal(got, feature)
    assert got.data_ptr() != feature.data_ptr()


@pytest.mark.parametrize("wrong", [{"k": 0}, {"times": 0}])
def test_k_and_times_must_be_positive(wrong) -> None:
    with pytest.raises(UserError, match="both must be 1 or more"):
        Expansion(**wrong)
