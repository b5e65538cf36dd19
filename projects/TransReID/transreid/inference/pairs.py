"""Pairs of images: labelled in a CSV, or of known identities; and their similarities."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from reid_common.errors import UserError
from reid_common.tables import cell_text, read_rows

from .feature_files import FeatureSet

MAX_PAIRS = 2_000_000
COLUMNS = ("image_a", "image_b", "same")


def read_pairs(path: Path, features: FeatureSet) -> tuple[np.ndarray, np.ndarray]:
    """Read a CSV of labelled pairs.

    Args:
        path: CSV with the columns image_a, image_b, same; paths as in the feature file, or relative
            to the folder of the CSV.
        features: where the images must be.

    Returns:
        (P, 2) positions in ``features``; (P,) True for the same identity.

    Raises:
        UserError: no such file, a malformed row, an image that has no feature or is paired with
            itself, or a pair with both labels; line is named.
    """
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}; give a CSV with {', '.join(COLUMNS)}")
    known = {os.path.abspath(name): row for row, name in enumerate(features.paths)}
    pairs, same = [], []
    labelled: dict[tuple[int, ...], tuple[str, str]] = {}  # pair -> label, where it was read
    for place, cells in read_rows(str(path), COLUMNS, COLUMNS):
        row = {name: cell_text(cells[name]) for name in COLUMNS}
        if row["same"] not in ("0", "1"):
            raise UserError(f"{place}: same is {row['same']!r}; write 1 or 0")
        pair = [_position(row[name], path, known, place) for name in COLUMNS[:2]]
        if pair[0] == pair[1]:
            raise UserError(
                f"{place}: {row['image_a']!r} is paired with itself, which says nothing about a "
                "threshold; remove the row"
            )
        label, first = labelled.setdefault(tuple(sorted(pair)), (row["same"], place))
        if label != row["same"]:
            raise UserError(
                f"{place}: {row['image_a']!r} and {row['image_b']!r} have same {row['same']} here "
                f"and {label} in {first}; keep the row that is right"
            )
        pairs.append(pair)
        same.append(row["same"] == "1")
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(same, bool)


def _position(name: str, listed_in: Path, known: dict[str, int], place: str) -> int:
    for path in (name, os.path.join(listed_in.parent, name)):
        if os.path.abspath(path) in known:
            return known[os.path.abspath(path)]
    raise UserError(f"{place}: {name!r} is not in the feature file; name it as it is there")


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
        max_pairs: most pairs of either kind; beyond it a random sample.
        seed: of that sample.

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

    The groups, of ``sizes``, stand one after the other in ``items`` (n,).
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
