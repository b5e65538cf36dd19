"""Jaccard distances of k-reciprocal neighbours, for the rows that are asked for, on sparse rows.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, with the
numbers of FastReID's ``compute_jaccard_distance`` to 1e-5, which holds several dense (N, N) arrays.
Where two images are equally near, either may count as the k1-th or the k2-th neighbour; on a CPU
it is the first in both. (Another order of the sum in a product can make a tie of what is none, or
the reverse, in the last bit of a float32.)

Letters: N images = Q queries, then G of the gallery; D dimensions.
"""

from __future__ import annotations

import numpy as np
from fastreid_compat.errors import UserError
from scipy import sparse
from torch import Tensor

from .neighbours import nearest
from .progress import shown
from .ranking import ragged_ranges
from .reciprocal import expanded_sets, sets_of


class JaccardDistances:
    """Jaccard distances (Q, G), 0..1, in rows.

    Args:
        features: (N, D) float32, queries first.
        num_queries: Q.
        k1: neighbours, the image itself among them, whose reciprocity counts; N if that is less.
        k2: neighbours whose weights are averaged (local query expansion); 1 = none.
        block_mb: megabytes of a block of distances, on a GPU.

    Raises:
        UserError: k1 or k2 is less than 1.
    """

    largest = 1.0

    def __init__(
        self, features: Tensor, num_queries: int, k1: int = 20, k2: int = 6, block_mb: float = 128
    ) -> None:
        if k1 < 1 or k2 < 1:
            raise UserError(f"re-ranking with k1={k1}, k2={k2} neighbours: both must be 1 or more")
        self.num_queries, self.num_gallery = num_queries, len(features) - num_queries
        k1, k2 = min(k1, len(features)), min(k2, len(features))
        _, neighbours = nearest(features, k1, "euclidean", block_mb)
        weights = neighbour_weights(features.cpu().numpy(), expanded_sets(neighbours, k1))
        if k2 > 1:
            average = sets_of(neighbours, k2)
            # The search returns k1 images: fewer than k2 may be there to be averaged.
            average.data /= min(k2, k1)
            weights = average @ weights
        self._of_queries = weights[:num_queries]
        # Column c: the gallery images that have c in their set, and their weights of it
        self._inverted = weights[num_queries:].tocsc()

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return the distances (stop - start, G), float32, of these queries."""
        dist = np.empty((stop - start, self.num_gallery), np.float32)
        for row, query in zip(dist, range(start, stop), strict=True):
            common = self._common(query)
            # The union of two sets is 2 - common, because the weights of each sum to 1.
            np.subtract(1, common / (2 - common), out=row, casting="same_kind")
        return np.maximum(dist, 0, out=dist)

    def _common(self, query: int) -> np.ndarray:
        """Sum over all images of the smaller one of two weights, (G,)."""
        own, inverted = self._of_queries, self._inverted
        mine = slice(own.indptr[query], own.indptr[query + 1])
        columns = own.indices[mine]
        starts = inverted.indptr[columns]
        lengths = inverted.indptr[columns + 1] - starts
        entries = ragged_ranges(starts, lengths)
        smaller = np.minimum(np.repeat(own.data[mine], lengths), inverted.data[entries])
        return np.bincount(inverted.indices[entries], smaller, minlength=self.num_gallery)


def neighbour_weights(features: np.ndarray, sets: sparse.csr_array) -> sparse.csr_array:
    """Weigh each image's set by the softmax of the negative squared distances to it, equation 7.

    Args:
        features: (N, D) float32.
        sets: (N, N), what is stored is in the set.

    Returns:
        (N, N) float32 of the same structure, whose rows sum to 1, or are empty where the set is.
    """
    squares = np.einsum("nd,nd->n", features, features)
    products = np.empty(sets.nnz, np.float32)
    bounds = sets.indptr.tolist()
    for image in shown(range(len(features)), "weights"):
        entries = slice(bounds[image], bounds[image + 1])
        products[entries] = features[sets.indices[entries]] @ features[image]
    dist = squares[sets.indices] - 2 * products  # |x|^2 is the same in all of a row
    sizes = np.diff(sets.indptr)
    some = sizes > 0
    starts, sizes = sets.indptr[:-1][some], sizes[some]
    weights = np.exp(np.repeat(np.minimum.reduceat(dist, starts), sizes) - dist)
    weights /= np.repeat(np.add.reduceat(weights, starts), sizes)
    return sparse.csr_array((weights, sets.indices, sets.indptr), shape=sets.shape)
