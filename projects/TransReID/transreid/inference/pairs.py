"""Pairs of images: of known identities, all or a random sample, and their similarities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MAX_PAIRS = 2_000_000


def identity_pairs(
    pids: np.ndarray,
    camids: np.ndarray | None = None,
    max_pairs: int = MAX_PAIRS,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images of known identities: all, or a random sample of either kind.

    Args:
        pids: (N,) identities; images of negative identity are in no pair.
        camids: (N,) cameras: only pairs from two known, different cameras count; None: all pairs.
        max_pairs: most positive and most negative pairs.
        seed: of the sample.

    Returns:
        (P, 2) positions of the pairs, positives first; (P,) True for a positive.
    """
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(pids >= 0 if camids is None else (pids >= 0) & (camids >= 0))
    known = known[np.argsort(pids[known], kind="stable")]
    sizes = np.unique(pids[known], return_counts=True)[1]

    def crosses(pairs: np.ndarray) -> np.ndarray:
        return np.ones(len(pairs), bool) if camids is None else _differ(camids, pairs)

    def negative(pairs: np.ndarray) -> np.ndarray:
        return _differ(pids, pairs) & crosses(pairs)

    positives = _sample(known, sizes, crosses, max_pairs, rng)
    negatives = _sample(known, np.array([len(known)]), negative, max_pairs, rng)
    same = np.arange(len(positives) + len(negatives)) < len(positives)
    return np.concatenate([positives, negatives]), same


def _differ(ids: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return ids[pairs[:, 0]] != ids[pairs[:, 1]]


def _sample(
    items: np.ndarray,
    sizes: np.ndarray,
    keep: Callable[[np.ndarray], np.ndarray],
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Distinct pairs within groups: all that ``keep`` wants, or a sample of at most ``count``.

    Args:
        items: (n,) the groups one after the other.
        sizes: of the groups.
        keep: says of pairs (P, 2) which count.
        count: most pairs.
        rng: random numbers.
    """
    within = sizes * (sizes - 1) // 2
    ends = np.cumsum(within)
    total = int(ends[-1]) if len(ends) else 0
    if total <= 4 * count:
        ranks = np.arange(total)
    else:  # twice as many as wanted, for those that are not kept
        ranks = np.unique(rng.integers(total, size=2 * count))
    group = np.searchsorted(ends, ranks, side="right")
    start = (np.cumsum(sizes) - sizes)[group]
    low, high = _unrank(ranks - (ends - within)[group])
    pairs = np.stack([items[start + low], items[start + high]], axis=1)
    pairs = pairs[keep(pairs)]
    if len(pairs) > count:
        pairs = pairs[np.sort(rng.permutation(len(pairs))[:count])]
    return pairs


def _unrank(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pair i < j of each rank r = j (j - 1) / 2 + i: (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    high = ((1 + np.sqrt(1 + 8 * ranks.astype(np.float64))) / 2).astype(np.int64)
    high -= high * (high - 1) // 2 > ranks  # rounding may be off by one either way
    high += high * (high + 1) // 2 <= ranks
    return ranks - high * (high - 1) // 2, high


def pair_similarities(features: np.ndarray, pairs: np.ndarray, block: int = 65536) -> np.ndarray:
    """Cosines (P,) float32 of pairs (P, 2) of rows of features (N, D), in flat memory."""
    similarities = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), block):
        rows = pairs[start : start + block]
        products = np.einsum("pd,pd->p", features[rows[:, 0]], features[rows[:, 1]])
        similarities[start : start + block] = products
    return similarities
