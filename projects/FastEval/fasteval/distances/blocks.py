"""Distances of queries to a gallery, one block of queries at a time.

The numbers are those of FastReID's ``build_dist``, but for the last bit: a matrix product that is
made in blocks may round otherwise.

Letters: Q queries, G gallery images, D dimensions, b queries of a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from reid_common.progress import shown
from torch import Tensor

from ..products import products

METRICS = ("cosine", "euclidean")
BYTES = 4  # of a float32
KEPT_MB = 512  # of products that re-ranking needs twice; above, they are made twice
# Of a block of kept products: new memory and a second-level cache cost, matrix products do not.
SMALL_BLOCK_MB = 8


class Distances(Protocol):
    """Rows of a matrix of distances (Q, G) that is never there as a whole.

    Attributes:
        num_queries: Q.
        num_gallery: G.
        largest: a bound that no distance exceeds, but for rounding.
        enough_mb: megabytes of a block above which larger ones are no faster.
    """

    num_queries: int
    num_gallery: int
    largest: float
    enough_mb: float

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return the distances (stop - start, G), float32, of these queries; the caller's own."""


class FeatureDistances:
    """Distances between features.

    Args:
        query: (Q, D) float32, of length 1 for "cosine".
        gallery: (G, D) float32, on the same device, of length 1 for "cosine".
        metric: "cosine" (1 - cosine, 0..2) or "euclidean" (squared, as in FastReID).
    """

    def __init__(self, query: Tensor, gallery: Tensor, metric: str) -> None:
        self.query, self.gallery, self.metric = query, gallery, metric
        self.num_queries, self.num_gallery = len(query), len(gallery)
        self.largest = 2.0
        if metric == "euclidean":
            self._gallery_squares = gallery.square().sum(1)
            lengths = query.square().sum(1).max().sqrt() + self._gallery_squares.max().sqrt()
            self.largest = float(lengths.square())
        self._kept: Tensor | None = None
        self.enough_mb = math.inf

    @torch.no_grad()
    def keep_products(self) -> Tensor | None:
        """Make all products (Q, G) now, for others and for :meth:`rows`; nobody may write to them.

        Returns:
            None where they are not worth their memory: on a GPU, for "euclidean", above KEPT_MB.
        """
        size = self.num_queries * self.num_gallery * BYTES
        if self.metric == "cosine" and self.query.device.type == "cpu" and size <= KEPT_MB * 2**20:
            self._kept = products(self.query, self.gallery)
            self.enough_mb = SMALL_BLOCK_MB
        return self._kept

    @torch.no_grad()
    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return the distances (stop - start, G), float32, of these queries."""
        query = self.query[start:stop]
        if self._kept is not None:
            dist = 1 - self._kept[start:stop]
        elif self.metric == "cosine":
            dist = products(query, self.gallery)
            torch.sub(dist.new_ones(()), dist, out=dist)
        else:
            dist = query.square().sum(1, keepdim=True) + self._gallery_squares
            dist.addmm_(query, self.gallery.t(), beta=1, alpha=-2)
        return dist.cpu().numpy()


def blocks(distances: Distances, block_mb: float) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index of the first query, distances (b, G)) for all queries, in order.

    A block takes at most ``block_mb`` megabytes, but has one query at least.
    """
    block_mb = min(block_mb, distances.enough_mb)
    size = max(1, int(block_mb * 2**20 / (BYTES * distances.num_gallery)))
    for start in shown(range(0, distances.num_queries, size), "ranking"):
        yield start, distances.rows(start, min(start + size, distances.num_queries))
