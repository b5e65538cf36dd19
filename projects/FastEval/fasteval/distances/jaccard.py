"""Jaccard distances of k-reciprocal neighbours, for the rows that are asked for, on sparse rows.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, with the
numbers of FastReID's ``compute_jaccard_distance`` to 1e-5, which holds several dense (N, N) arrays.
Where two images are equally near, either may count as the k1-th or the k2-th neighbour; on a CPU
it is the first in both. (Another order of the sum in a product can make a tie of what is none, or
the reverse, in the last bit of a float32.)

A row of a sparse matrix (N, N) here is an image, its columns are the images of its set; a set has
at most k1 of the N images, or a few times that when expanded, so that memory is linear in N.

Letters: N images = Q queries, then G of the gallery; D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from reid_common.progress import shown
from scipy import sparse
from torch import Tensor

from ..neighbours.nearest import nearest
from .blocks import SMALL_BLOCK_MB, Distances

PAIRS_AT_ONCE = 1024
QUERIES_AT_ONCE = 16


class JaccardDistances:
    """Jaccard distances (Q, G), 0..1, in rows.

    Args:
        features: (N, D) float32, queries first.
        num_queries: Q.
        k1: neighbours, the image itself among them, whose reciprocity counts; N if that is less.
        k2: neighbours whose weights are averaged (local query expansion); 1 = none.
        block_mb: megabytes of a block of distances, on a GPU.
        known: (Q, G) float32, products of queries and gallery, if they are there already.
    """

    largest = 1.0
    enough_mb = SMALL_BLOCK_MB

    def __init__(
        self,
        features: Tensor,
        num_queries: int,
        k1: int = 20,
        k2: int = 6,
        block_mb: float = 128,
        known: Tensor | None = None,
    ) -> None:
        self.num_queries, self.num_gallery = num_queries, len(features) - num_queries
        weights = encoded_neighbours(features, k1, k2, block_mb, known)
        self._of_queries = weights[:num_queries]
        # Row c: the gallery images that have c in their set, and their weights of it
        self._inverted = weights[num_queries:].T.tocsr()

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return the distances (stop - start, G), float32, of these queries."""
        dist = np.empty((stop - start, self.num_gallery), np.float32)
        for row, distances in zip(dist, self.each(start, stop), strict=True):
            row[:] = distances
        return dist

    def each(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield the distances (G,) float32 of each query; the next ones overwrite them."""
        dist = np.empty(self.num_gallery, np.float32)
        union = np.empty(self.num_gallery)
        for common in shared_weights(self._of_queries, self._inverted, start, stop):
            # The union of two sets is 2 - common, because the weights of each sum to 1.
            np.subtract(2, common, out=union)
            np.divide(common, union, out=union)
            np.subtract(1, union, out=dist, casting="same_kind")
            yield np.maximum(dist, 0, out=dist)


class Blend:
    """The weighted mean of two distances: ``weight`` of the plain ones, the rest of Jaccard's."""

    def __init__(self, plain: Distances, jaccard: JaccardDistances, weight: float) -> None:
        self.plain, self.jaccard, self.weight = plain, jaccard, weight
        self.num_queries, self.num_gallery = plain.num_queries, plain.num_gallery
        self.largest = plain.largest * weight + jaccard.largest * (1 - weight)
        self.enough_mb = plain.enough_mb

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return the distances (stop - start, G), float32, of these queries."""
        dist = self.plain.rows(start, stop)
        weight, rest = np.float32(self.weight), np.float32(1 - self.weight)
        for row, distances in zip(dist, self.jaccard.each(start, stop), strict=True):
            row *= weight
            distances *= rest
            row += distances
        return dist


def encoded_neighbours(
    features: Tensor, k1: int, k2: int, block_mb: float = 128, known: Tensor | None = None
) -> sparse.csr_array:
    """Encode each image as the weights of its k-reciprocal neighbours, (N, N), rows of sum 1.

    Arguments are those of :class:`JaccardDistances`.
    """
    k1, k2 = min(k1, len(features)), min(k2, len(features))
    squared, neighbours = nearest(features, k1, "euclidean", block_mb, known)
    weights = neighbour_weights(
        features.cpu().numpy(), expanded_sets(neighbours, k1), squared, neighbours
    )
    if k2 > 1:
        average = sets_of(neighbours, k2)
        # The search returns k1 images: fewer than k2 may be there to be averaged.
        average.data /= min(k2, k1)
        weights = average @ weights
    return weights


def shared_weights(
    own: sparse.csr_array, inverted: sparse.csr_array, start: int, stop: int
) -> Iterator[np.ndarray]:
    """Yield for each row i of ``own`` (Q, N) the sums over c of min(own[i, c], V[g, c]), (G,).

    ``inverted`` (N, G) is V transposed: row c has the images g with c in their set.
    """
    count = inverted.shape[1]
    for first in range(start, stop, QUERIES_AT_ONCE):
        ends = own.indptr[first : min(first + QUERIES_AT_ONCE, stop) + 1]
        mine = slice(ends[0], ends[-1])
        shared = inverted[own.indices[mine]]
        weights = np.repeat(own.data[mine], np.diff(shared.indptr))
        np.minimum(weights, shared.data, out=weights)
        for begin, end in pairwise(shared.indptr[ends - ends[0]]):
            # Sum over all images of the smaller one of two weights
            yield np.bincount(shared.indices[begin:end], weights[begin:end], minlength=count)


def neighbour_weights(
    features: np.ndarray, sets: sparse.csr_array, squared: np.ndarray, neighbours: np.ndarray
) -> sparse.csr_array:
    """Weigh each image's set by the softmax of the negative squared distances to it, equation 7.

    Args:
        features: (N, D) float32.
        sets: (N, N), what is stored is in the set; columns of a row are sorted.
        squared: (N, K) float32, squared distances of some neighbours, which most of the sets are.
        neighbours: (N, K), which these are.

    Returns:
        (N, N) float32 of the same structure, whose rows sum to 1, or are empty where the set is.
    """
    count, sizes = len(features), np.diff(sets.indptr)
    known = np.argsort(neighbours, axis=1)
    first = np.arange(count, dtype=np.int64)[:, None] * count  # of the pairs of an image
    pairs = (np.take_along_axis(neighbours, known, 1) + first).ravel()
    wanted = sets.indices + np.repeat(first[:, 0], sizes)
    found = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    dist = np.take_along_axis(squared, known, 1).ravel()[found]
    lacking = np.flatnonzero(pairs[found] != wanted)
    for start in shown(range(0, len(lacking), PAIRS_AT_ONCE), "weights"):
        some = lacking[start : start + PAIRS_AT_ONCE]
        images, others = np.divmod(wanted[some], count)
        difference = features[images] - features[others]
        dist[some] = np.einsum("nd,nd->n", difference, difference)
    starts, sizes = sets.indptr[:-1][sizes > 0], sizes[sizes > 0]
    weights = np.exp(np.repeat(np.minimum.reduceat(dist, starts), sizes) - dist)
    weights /= np.repeat(np.add.reduceat(weights, starts), sizes)
    return sparse.csr_array((weights, sets.indices, sets.indptr), shape=sets.shape)


def sets_of(neighbours: np.ndarray, k: int) -> sparse.csr_array:
    """Return the first ``k`` of the neighbours (N, K) of each image as rows of (N, N) ones."""
    count = len(neighbours)
    columns = neighbours[:, :k].astype(np.int32)
    ends = np.arange(count + 1, dtype=np.int64) * columns.shape[1]
    ones = np.ones(columns.size, np.float32)
    return sparse.csr_array((ones, columns.ravel(), ends), shape=(count, count))


def reciprocal(neighbours: np.ndarray, k: int) -> sparse.csr_array:
    """Return R(i, k), (N, N) ones: images among the first k of i that have i among their first k.

    The nearest of the neighbours (N, K) is the first; k is lowered to K.
    """
    forward = sets_of(neighbours, k)
    return forward.multiply(forward.T.tocsr()).tocsr()


def expanded_sets(neighbours: np.ndarray, k1: int) -> sparse.csr_array:
    """Return R*(i, k1), equation 5: R(i, k1) and all R(c, k1 / 2) of which it has two thirds.

    As in FastReID, whose search returns k1 images (the image itself among them), R(i, k1) has k1
    at most, and the halves round(k1 / 2) + 1, with round half to even.

    Returns:
        (N, N); what is stored is in the set, whatever its value; columns of a row are sorted.
    """
    whole = reciprocal(neighbours, k1)
    half = reciprocal(neighbours, int(np.around(k1 / 2)) + 1)
    sizes = np.diff(half.indptr)
    # For each candidate c of i: how many of the half set of c are in the set of i
    common = (whole @ half.T.tocsr()).multiply(whole).tocsr()
    common.data = (common.data > 2 / 3 * sizes[common.indices]).astype(np.float32)
    common.eliminate_zeros()
    united = (whole + common @ half).tocsr()
    united.sort_indices()
    return united
