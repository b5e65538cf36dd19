"""Random test sets for rankings: distances or features, identities and cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Ids:
    """Identities and cameras of Q queries and G gallery images."""

    q_pids: np.ndarray
    g_pids: np.ndarray
    q_camids: np.ndarray
    g_camids: np.ndarray

    def all(self) -> tuple[np.ndarray, ...]:
        return self.q_pids, self.g_pids, self.q_camids, self.g_camids

    @property
    def pids(self) -> np.ndarray:
        return np.concatenate([self.q_pids, self.g_pids])

    @property
    def camids(self) -> np.ndarray:
        return np.concatenate([self.q_camids, self.g_camids])


def random_ids(
    rng: np.random.Generator,
    num_query: int,
    num_gallery: int,
    num_ids: int = 6,
    num_cams: int = 4,
    num_absent: int = 2,
) -> Ids:
    """Ids of which ``num_absent`` identities have queries only, and a fifth has no camera (-1)."""
    ids = Ids(
        rng.integers(0, num_ids + num_absent, num_query),
        rng.integers(0, num_ids, num_gallery),
        rng.integers(0, num_cams, num_query),
        rng.integers(0, num_cams, num_gallery),
    )
    for camids in (ids.q_camids, ids.g_camids):
        camids[rng.random(len(camids)) < 0.2] = -1
    return ids


def random_distances(
    rng: np.random.Generator, num_query: int, num_gallery: int, decimals: int | None
) -> np.ndarray:
    """(Q, G) float32 in 0..1; rounded to ``decimals``, so that there are ties, unless None."""
    dist = rng.random((num_query, num_gallery)).astype(np.float32)
    return dist if decimals is None else np.round(dist, decimals)


def clustered_features(pids: np.ndarray, dim: int, noise: float, seed: int = 0) -> Tensor:
    """(N, D) features of length 1: a random direction for each identity, plus noise."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(int(pids.max()) + 1, dim, generator=generator)
    features = centres[torch.from_numpy(pids)]
    return F.normalize(features + noise * torch.randn(features.shape, generator=generator), dim=1)
