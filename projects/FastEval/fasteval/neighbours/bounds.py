"""Rounded products of features, and how far each can be from the exact one.

A processor that multiplies bfloat16 does so twice as fast as float32, and rounding is an error with
a bound. Features x are centred, c = x - mean, and rounded, r = c - e; then

    c_i c_j = r_i r_j + r_i e_j + e_i c_j,    |r_i e_j + e_i c_j| <= |r_i| |e_j| + |e_i| |c_j|

(Cauchy-Schwarz). The score of a pair is c_i c_j + b_i + b_j: with b = -|c|^2 / 2 half the negative
squared distance, with b = mean c the inner product but for a constant. It is symmetric, so that one
product serves both images. The b are columns of the matrices, each as a sum of three bfloat16.
Products x_i x_j that are there already, in float32, give half the negative squared distance with
b = -|x|^2 / 2, and need no other.

Letters: N features, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from fastreid_compat.repairs.training.mixed_precision import cpu_has_bf16
from torch import Tensor

from ..products import products

Metric = Literal["euclidean", "inner_product"]
TERMS = 3  # bfloat16 that add up to a float32
FAR = 2  # times the longest centred feature that the longest feature may be
NEVER = -1e30  # score of what only fills the last tile


class RoundedScores:
    """Scores of all pairs, tile by tile, and their errors.

    Args:
        features: (N, D) float32 on the CPU, of moderate size: no square over- or underflows.
        metric: "euclidean" or "inner_product"; the nearer, the larger the score.
        dtype: of the products: bfloat16, or float32 where bfloat16 is not fast.
        tile: images of a side of a tile.
        known: (Q, N - Q) float32, for any Q: products x_i x_j of the first Q features and the
            others, if they are there already. Tiles that lie in them are not multiplied.

    Attributes:
        errors: (N,) float32: how far a score of this image before it is rounded to ``dtype`` can be
            from the distance or product that float32 gives.
    """

    def __init__(
        self,
        features: Tensor,
        metric: Metric,
        dtype: torch.dtype,
        tile: int,
        known: Tensor | None = None,
    ) -> None:
        count, dim = features.shape
        self.tile, self.num_tiles = tile, -(-count // tile)
        self._right = torch.zeros(self.num_tiles * tile, dim + 2 * TERMS, dtype=dtype)
        self._right[:, -TERMS:] = 1
        self._right[count:, dim] = NEVER
        self._out = torch.empty(tile, tile, dtype=dtype)
        mean = features.mean(0)
        exact, rounded, lost = (torch.empty(count) for _ in range(3))  # |c|, |r|, |e|
        bias = torch.empty(count)
        buffers = torch.empty(2, tile, dim)
        for start in range(0, count, tile):
            rows = slice(start, min(start + tile, count))
            # One buffer for all tiles: memory that is new to the process takes longer than these.
            centred, error = buffers[:, : rows.stop - start]
            torch.sub(features[rows], mean, out=centred)
            self._right[rows, :dim] = centred
            error.copy_(self._right[rows, :dim])
            exact[rows], rounded[rows] = centred.norm(dim=1), error.norm(dim=1)
            lost[rows] = torch.sub(centred, error, out=error).norm(dim=1)
            bias[rows] = centred @ mean if metric == "inner_product" else -(exact[rows] ** 2) / 2
        lengths = features.norm(dim=1)
        length = float(lengths.max())
        # Products that are not centred have too few digits if the mean is far from 0.
        near = metric == "euclidean" and length < FAR * float(exact.max())
        self._known = known if near else None
        middle = (bias.min() + bias.max()) / 2
        self._known_bias = lengths.square() / -2 - middle  # c_i c_j + b_i + b_j from x_i x_j
        rest = bias - middle  # scores near 0 lose least when rounded
        self._spread = float(rest.abs().max())
        for column in range(dim, dim + TERMS):
            self._right[:count, column] = rest
            rest = rest - self._right[:count, column].float()
        centred_only = metric == "euclidean" and self._known is None
        largest = float(exact.max()) if centred_only else length
        # Sums of D terms in float32, here and in the exact search: at most D roundings each
        unit = (dim + 2 * TERMS) * torch.finfo(torch.float32).eps
        sums = 4 * unit * (max(largest, float(exact.max())) ** 2 + self._spread)
        self.errors = rounded * lost.max() + lost * exact.max() + sums

    def stripe(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """Yield (second, scores (tile, tile) in ``dtype``) of this tile and each from it on.

        The next scores overwrite the last ones.
        """
        left, bias, ones = self._rows(first).tensor_split((-2 * TERMS, -TERMS), dim=1)
        left = torch.cat([left, ones, bias], 1)
        for second in range(first, self.num_tiles):
            copied = self._copy_known(first, second)
            if copied < self.tile:
                products(left[copied:], self._rows(second), self._out[copied:])
            yield second, self._out

    def _copy_known(self, first: int, second: int) -> int:
        """Set the first rows of ``_out`` from the known products; return how many they have."""
        known, tile = self._known, self.tile
        if known is None or first * tile >= len(known) or second * tile < len(known):
            return 0
        block = known[first * tile :, second * tile - len(known) :][:tile, :tile]
        rows, columns = self._known_bias[first * tile :], self._known_bias[second * tile :]
        block = block + columns[:tile]
        block += rows[: len(block), None]
        self._out[: len(block), : block.shape[1]] = block
        self._out[: len(block), block.shape[1] :] = NEVER
        return len(block)

    def _rows(self, number: int) -> Tensor:
        return self._right[number * self.tile : (number + 1) * self.tile]


def fast_dtype() -> torch.dtype:
    """bfloat16 on processors that multiply it, else float32."""
    return torch.bfloat16 if cpu_has_bf16() else torch.float32
