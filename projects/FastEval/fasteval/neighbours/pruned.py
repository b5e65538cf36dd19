"""The exact nearest neighbours of all features among themselves, with few exact distances.

Rounded scores of all pairs (bounds.py) leave a few candidates for each image: those that
may be among its k nearest whatever the errors are. Their distances are computed in float32. Each
pair of images is multiplied once, for both of them.

Images are put in classes; k classes whose largest scores are t or more contain k images that are,
so that an image below t by more than the errors is none of the k nearest. Keeping the largest score
of each class is cheaper than keeping the k largest scores. An image with too many candidates
(copies of one image, mostly) is left to faiss.

Letters: N features, D dimensions, k neighbours, C classes, T images of a tile, M candidates.
"""

from __future__ import annotations

import faiss
import numpy as np
import torch
from reid_common.progress import shown
from torch import Tensor

from .bounds import NEVER, Metric, RoundedScores

TILE = 1024
CLASSES = 128
MOST = 512  # candidates of one image
PRUNE_ABOVE = 160  # candidates of each image of a tile, on average


class TileCandidates:
    """Candidates of the images of one tile, while the scores come in.

    Args:
        errors: (n,) of the images, n <= T; see :class:`RoundedScores`.
        tile: T.
        k: neighbours that are wanted.
        dtype: of the scores.
    """

    def __init__(self, errors: Tensor, tile: int, k: int, dtype: torch.dtype) -> None:
        self.k, self.errors, self.seen = k, torch.zeros(tile), 0
        self.errors[: len(errors)] = errors
        self.largest = torch.full((tile, min(CLASSES, tile)), NEVER, dtype=dtype)
        self.limits = torch.full((tile,), NEVER / 2, dtype=dtype)
        self.crowded = torch.zeros(tile, dtype=torch.bool)
        self._found: list[tuple[Tensor, ...]] = []
        self._size = 0

    def add(self, scores: Tensor, largest: Tensor, start: int) -> None:
        """Take the scores (T, T / C, C) of this tile and the others from ``start`` on.

        ``largest`` (T, C) are their maxima over T / C.
        """
        torch.maximum(self.largest, largest, out=self.largest)
        self.seen += 1
        if self.seen & (self.seen - 1) == 0 or self.seen % 4 == 0:
            self._raise_limits()
        hits = np.flatnonzero((largest >= self.limits[:, None]).numpy())
        images, classes = (torch.from_numpy(part) for part in np.divmod(hits, largest.shape[1]))
        near = scores[images, :, classes]
        passing = np.flatnonzero((near >= self.limits[images, None]).numpy())
        which, depth = (torch.from_numpy(part) for part in np.divmod(passing, near.shape[1]))
        others = start + depth * largest.shape[1] + classes[which]
        self._found.append((images[which].short(), others.int(), near.flatten()[passing]))
        self._size += len(which)
        if self._size > PRUNE_ABOVE * len(self.limits):
            self._raise_limits()
            self._prune()

    def _raise_limits(self) -> None:
        """Set the scores below which nothing can be among the k nearest."""
        largest = self.largest.float().numpy()
        kth = torch.from_numpy(np.partition(largest, -self.k, axis=1)[:, -self.k])
        # A score was rounded by half a unit of its last place; rounding keeps the order.
        limits = kth - kth.abs() * (0.51 * torch.finfo(self.limits.dtype).eps) - 2 * self.errors
        self.limits = limits.clamp_(min=NEVER / 2).to(self.limits.dtype)
        self.limits[self.crowded] = torch.inf

    def _prune(self) -> None:
        images, others, scores = map(torch.cat, zip(*self._found, strict=True))
        found = _where(scores >= self.limits[images.int()], images, others, scores)
        crowded = torch.bincount(found[0], minlength=len(self.limits)) > MOST
        if crowded.any():
            self.crowded |= crowded
            self.limits[crowded] = torch.inf
            found = _where(~crowded[found[0].int()], *found)
        self._found, self._size = [found], len(found[0])

    def table(self) -> np.ndarray:
        """The candidates (T, M) int64 of each image, ascending, then -1; none if too many."""
        self._raise_limits()
        self._prune()
        images, others = (part.numpy().astype(np.int64) for part in self._found[0][:2])
        counts = np.bincount(images, minlength=len(self.limits))
        ordered = np.sort(images << 32 | others) & (2**32 - 1)
        table = np.full((len(counts), max(counts.max(), self.k)), -1)
        table[np.arange(table.shape[1]) < counts[:, None]] = ordered
        return table


def _where(mask: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """Entries of each of ``parts`` (n,) where ``mask`` (n,); faster than by ``mask`` itself."""
    entries = torch.from_numpy(np.flatnonzero(mask.numpy()))
    return tuple(part[entries] for part in parts)


def pruned_search(
    features: Tensor, k: int, metric: Metric, dtype: torch.dtype, known: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the neighbours of each feature, as :func:`fasteval.neighbours.nearest.nearest`.

    Features are finite and on the CPU, k is at most CLASSES, ``dtype`` (of the scores) bfloat16 or
    float32.
    """
    scores = RoundedScores(features, metric, dtype, TILE, known)
    parts = enumerate(scores.errors.split(TILE))
    tiles = {number: TileCandidates(errors, TILE, k, dtype) for number, errors in parts}
    rows = np.ascontiguousarray(features)
    values = np.empty((len(rows), k), np.float32)
    indices = np.empty((len(rows), k), np.int64)
    depth = TILE // CLASSES
    for first in shown(range(len(tiles)), "neighbours"):
        own = tiles.pop(first)
        for second, block in scores.stripe(first):
            wide = block.view(TILE, depth, CLASSES)
            own.add(wide, wide.amax(1), second * TILE)
            if second > first:
                high = block.view(depth, CLASSES, TILE)
                tiles[second].add(high.permute(2, 0, 1), high.amax(0).t(), first * TILE)
        mine = slice(first * TILE, (first + 1) * TILE)
        table = own.table()[: len(rows[mine])]
        values[mine], indices[mine] = _nearest_of(table, rows, mine, k, metric)
    return values, indices


def _nearest_of(
    table: np.ndarray, rows: np.ndarray, mine: slice, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of the candidates (n, M); of images with fewer than k, the k nearest of all."""
    euclidean = metric == "euclidean"
    exact = getattr(faiss, "fvec_L2sqr_by_idx" if euclidean else "fvec_inner_products_by_idx")
    distances = np.empty(table.shape, np.float32)
    queries = rows[mine]
    pointers = [faiss.swig_ptr(array) for array in (distances, queries, rows, table)]
    exact(*pointers, rows.shape[1], *table.shape)
    if not euclidean:
        np.negative(distances, out=distances)
    distances[table < 0] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    indices = np.take_along_axis(table, order, 1)
    values = np.take_along_axis(distances, order, 1)
    if not euclidean:
        values = -values
    few = np.flatnonzero(table[:, k - 1] < 0)
    if len(few):
        values[few], indices[few] = faiss_search(queries[few], rows, k, metric)
    return values, indices


def faiss_search(
    queries: np.ndarray, rows: np.ndarray, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """Compute all distances of queries (Q, D), for their k nearest: (Q, k) values and indices."""
    kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    return faiss.knn(queries, rows, k, metric=kind)
