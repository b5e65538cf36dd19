"""Positions that a stable sort would give to a few images of a row, without that sort.

A query has a few tens of matches in a gallery of tens of thousands. The position of a match is the
number of images that are nearer, and of those before it in the gallery that are equally near.
Comparing a whole row with all of its matches at once, and adding the outcomes up eight at a time,
takes vector instructions a tenth of the time of an argsort of the row. In small galleries, and with
many matches, sorting the values (not their order, which takes three times as long) and looking the
matches up wins. Either is done for many rows in one call: in a gallery of a thousand a call would
cost more than the work.

Letters: b queries of a block, G gallery images, P pairs of both; r rows of a batch, M pairs of one
row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

WORD = 8  # booleans that are added at once, as the bytes of an uint64
MOST_WORDS = 255  # that a byte can count
BATCH_BYTES = 2**19  # of outcomes or sorted values: half of a second-level cache
# A row of up to SMALL_GALLERY images is sorted in pieces of up to PIECE: numpy sorts 512 numbers by
# vector instructions alone. It pays up to MANY_PAIRS pairs, which are looked up in each piece.
PIECE, SMALL_GALLERY, MANY_PAIRS = 512, 2048, 40
BUFFER = 512  # numbers; see Counter.counts
# Tied pairs of a row from which on a stable argsort of the row is cheaper than a pass a pair
MANY_TIES = 400


def kept_positions(
    dist: np.ndarray, rows: np.ndarray, columns: np.ndarray, junk: np.ndarray
) -> np.ndarray:
    """Position, 0-based, of each pair in a stable ascending argsort of its row without the junk.

    Args:
        dist: (b, G) distances without NaN.
        rows: (P,) rows of the pairs, ascending.
        columns: (P,) columns of the pairs.
        junk: (P,) bool, pairs that are left out of their row.

    Returns:
        (kept pairs,) int64.
    """
    kept, left_out = np.flatnonzero(~junk), np.flatnonzero(junk)
    counts, starts = _runs(rows[kept], len(dist))
    junk_counts, junk_starts = _runs(rows[left_out], len(dist))
    columns, junk_columns = columns[kept], columns[left_out]
    positions = np.empty(len(kept), np.int64)
    limit = _sorting_pays_from(dist.shape[1])
    counter = Counter(dist.shape[1])
    for batch, sorting in _batches(counts, limit, dist[:1].nbytes):
        block = dist[batch]
        # Every row has as many pairs as the first, its own last one again and again.
        most = counts[batch[0]]
        depths = np.minimum(np.arange(most), counts[batch, None] - 1)
        pairs = starts[batch, None] + depths
        lines = np.arange(len(batch))[:, None]
        values = block[lines, columns[pairs]]
        lengths = junk_counts[batch]
        removed = junk_columns[ragged_ranges(junk_starts[batch], lengths)]
        lines_removed = np.repeat(lines[:, 0], lengths)
        block[lines_removed, removed] = np.nan  # compares as false, and is sorted to the end
        if sorting:
            found, tied = _sorted_counts(block, lengths.any(), values)
        else:
            found, tied = counter.counts(block, values)
        if tied.any():
            where = np.nonzero(tied)
            found[where] += _ties_before(block, where[0], columns[pairs[where]])
        positions[pairs] = found
    return positions


def ragged_ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenate ``range(start, start + length)`` of all starts and lengths, (sum,) int64."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)


def _runs(rows: np.ndarray, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """How many of the ascending ``rows`` are of each row, and where they begin, (num_rows,)."""
    counts = np.bincount(rows, minlength=num_rows)
    return counts, np.cumsum(counts) - counts


def _batches(counts: np.ndarray, limit: int, row_bytes: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield rows (r,) with alike numbers of pairs, most first, and whether they are to be sorted.

    Args:
        counts: (b,) pairs of each row; rows without are left out.
        limit: pairs from which on a row is sorted.
        row_bytes: bytes of a row.
    """
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    num_sorted = int(np.count_nonzero(counts >= max(limit, 1)))
    start = 0
    while start < len(order):
        most = int(counts[order[start]])
        sorting = start < num_sorted
        size = max(1, BATCH_BYTES // (row_bytes + WORD * most))
        stop = min(start + size, num_sorted if sorting else len(order))
        yield order[start:stop], sorting
        start = stop


def _sorted_counts(
    block: np.ndarray, has_nan: bool, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As :meth:`Counter.counts`, by sorting; ``has_nan`` says whether ``block`` may hold NaN."""
    length, many = block.shape[1], values.shape[1] > MANY_PAIRS
    num_pieces = 1 if many or length > SMALL_GALLERY else -(-length // PIECE)
    size = -(-length // num_pieces)
    pieces = np.full((len(block), num_pieces * size), np.nan, block.dtype)
    pieces[:, :length] = block
    pieces = pieces.reshape(len(block), num_pieces, size)
    pieces.sort(axis=2)
    if has_nan or num_pieces * size > length:
        # torch's search does not know NaN; what is beyond every value must not look equal to it.
        lacking = np.isnan(pieces)
        pieces[lacking] = np.inf
    wanted = np.repeat(values[:, None], num_pieces, 1)
    smaller = torch.searchsorted(torch.from_numpy(pieces), torch.from_numpy(wanted)).numpy()
    # Of the numbers that follow, one equals the value; ties if another does.
    same = np.take_along_axis(pieces, np.minimum(smaller, size - 1), 2) == wanted
    again = np.take_along_axis(pieces, np.minimum(smaller + 1, size - 1), 2) == wanted
    again &= smaller + 1 < size
    tied = (np.count_nonzero(same, axis=1) > 1) | again.any(axis=1)
    return smaller.sum(axis=1), tied


class Counter:
    """Counts for values of rows how many numbers of their row are smaller or equal.

    Args:
        length: G, of the rows.

    Attributes:
        stride: bytes that the outcomes of a comparison of a value with its row take.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        words = math.ceil(length / WORD)
        self._groups = max(1, math.ceil(words / MOST_WORDS))
        self._words = math.ceil(words / self._groups)
        self.stride = self._groups * self._words * WORD
        # What is beyond the row stays False.
        self._outcomes = np.zeros((0, self.stride), bool)

    def counts(self, block: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count for each value the numbers of its row that are smaller.

        Args:
            block: (r, G).
            values: (r, M), numbers of their rows.

        Returns:
            (r, M) int64; and whether the row has a value more than once, (r, M) bool.
        """
        smaller, no_larger = np.empty((2, *values.shape), np.int64)
        step = max(1, BATCH_BYTES // (self.stride * values.shape[1]))
        # numpy copies operands whose rows are shorter than a third of its buffer, which takes
        # three times as long as to compare them.
        size = np.setbufsize(BUFFER)
        try:
            for start in range(0, len(block), step):
                rows, own = block[start : start + step, None], values[start : start + step, :, None]
                outcomes = self._room(own.size).reshape(len(own), -1, self.stride)
                np.less(rows, own, out=outcomes[:, :, : self.length])
                smaller[start : start + step] = self._sums(outcomes)
                np.less_equal(rows, own, out=outcomes[:, :, : self.length])
                no_larger[start : start + step] = self._sums(outcomes)
        finally:
            np.setbufsize(size)
        return smaller, no_larger - smaller > 1

    def _room(self, size: int) -> np.ndarray:
        if len(self._outcomes) < size:
            self._outcomes = np.zeros((size, self.stride), bool)
        return self._outcomes[:size]

    def _sums(self, outcomes: np.ndarray) -> np.ndarray:
        shape = outcomes.shape[:2]
        words = outcomes.view(np.uint64).reshape(*shape, self._groups, self._words)
        # Each byte of a sum counts for itself: there are too few words for it to overflow.
        sums = words.sum(axis=3)
        return sums.view(np.uint8).reshape(*shape, -1).sum(axis=2, dtype=np.int64)


def _sorting_pays_from(length: int) -> int:
    """Number of pairs of a row from which on sorting it is cheaper than comparing.

    Measured on one core of an AMD EPYC, G images and M pairs: sorting takes 1.8 nanoseconds an
    image in pieces and 3 (log2(G) - 8.2) as a whole, comparing twice and counting 0.19 a pair and
    image, more in short rows.
    """
    if length <= SMALL_GALLERY:
        return length // 80
    return round(16 * (math.log2(length) - 8.2))


def _ties_before(block: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """How many images before each pair's one (P,) in the gallery are as near, (P,) int64."""
    before = np.empty(len(rows), np.int64)
    bounds = np.searchsorted(rows, np.arange(len(block) + 1))
    for number in np.unique(rows):
        row, own = block[number], slice(bounds[number], bounds[number + 1])
        if own.stop - own.start < MANY_TIES:
            before[own] = [np.count_nonzero(row[:c] == row[c]) for c in columns[own]]
            continue
        order = np.argsort(row, kind="stable")
        ranks = np.empty(len(row), np.int64)
        ranks[order] = np.arange(len(row))
        before[own] = ranks[columns[own]] - np.searchsorted(row[order], row[columns[own]])
    return before
