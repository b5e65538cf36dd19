"""Positions that a stable sort would give to a few images of a row, without that sort.

A query has a few tens of matches in a gallery of tens of thousands. The position of a match is the
number of images that are nearer, and of those before it in the gallery that are equally near. A
handful of matches is compared with the whole row at once, and the outcomes are added up eight at a
time; more are sorted into pieces of the row (positions_sorted.py). Either takes vector instructions
a tenth of the time of an argsort of the row, and is done for many rows in one call: in a gallery of
a thousand a call would cost more than the work.

Letters: b queries of a block, G gallery images, P pairs of both; r rows of a batch, M pairs of one
row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .positions_sorted import sorted_positions, stable_positions

WORD = 8  # booleans that are added at once, as the bytes of an uint64
MOST_WORDS = 255  # that a byte can count
BATCH_BYTES = 2**19  # of outcomes: half of a second-level cache
SORTED_BYTES = 2**20  # of rows that are sorted at once, and of their pairs
# Measured on one core of an AMD EPYC: sorting takes 2.5 nanoseconds an image, comparing twice and
# counting 0.4 a pair and image, more in short rows.
SORTING_PAYS_FROM = 6  # pairs of a row
# Pairs of a row from which on its argsort is cheaper than comparing, where it cannot be sorted
MANY_PAIRS = 128
BUFFER = 512  # numbers; see Counter.counts


def kept_positions(
    dist: np.ndarray, rows: np.ndarray, columns: np.ndarray, junk: np.ndarray
) -> np.ndarray:
    """Positions, 0-based, of pairs in a stable ascending argsort of their row without the junk.

    Args:
        dist: (b, G) distances without NaN.
        rows: (P,) rows of the pairs, ascending.
        columns: (P,) columns of the pairs, ascending in a row.
        junk: (P,) bool, pairs that are left out of their row.

    Returns:
        (kept pairs,) int64, row after row, in any order within a row.
    """
    kept, left_out = np.flatnonzero(~junk), np.flatnonzero(junk)
    counts, starts = _runs(rows[kept], len(dist))
    junk_counts, junk_starts = _runs(rows[left_out], len(dist))
    columns, junk_columns = columns[kept], columns[left_out]
    positions = np.empty(len(kept), np.int64)
    counter = Counter(dist.shape[1])
    for batch, sorting in _batches(counts, dist[:1].nbytes):
        block = np.take(dist, batch, axis=0)
        first = np.arange(len(batch)) * dist.shape[1]  # of each row in the flattened block
        # Every row has as many pairs as the first, its own last one again and again.
        depths = np.arange(counts[batch[0]])
        filled = depths < counts[batch, None]
        pairs = starts[batch, None] + np.minimum(depths, counts[batch, None] - 1)
        matches = first[:, None] + columns[pairs]
        lengths = junk_counts[batch]
        removed = np.repeat(first, lengths)
        removed += junk_columns[ragged_ranges(junk_starts[batch], lengths)]
        found = None
        if sorting and dist.dtype == np.float32:
            found = sorted_positions(block, matches, filled, removed)
        if found is None:
            found = _compared_positions(block, matches, filled, removed, counter)
        positions[pairs[filled]] = found[filled]
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


def _batches(counts: np.ndarray, row_bytes: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield rows (r,) with alike numbers of pairs, most first, and whether they are to be sorted.

    ``counts`` are the pairs (b,) of each row; rows without any are left out.
    """
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    num_sorted = int(np.count_nonzero(counts >= SORTING_PAYS_FROM))
    start = 0
    while start < len(order):
        sorting = start < num_sorted
        row_and_pairs = row_bytes + WORD * int(counts[order[start]])
        size = max(1, (SORTED_BYTES if sorting else BATCH_BYTES) // row_and_pairs)
        stop = min(start + size, num_sorted if sorting else len(order))
        yield order[start:stop], sorting
        start = stop


def _compared_positions(
    block: np.ndarray,
    matches: np.ndarray,
    filled: np.ndarray,
    removed: np.ndarray,
    counter: Counter,
) -> np.ndarray:
    """As :func:`sorted_positions`, of distances of any dtype, and in any order within a row."""
    flat = block.reshape(-1)
    values = flat[matches]
    flat[removed] = np.nan  # compares as false, and is sorted to the end
    if matches.shape[1] > MANY_PAIRS:
        found = np.zeros(matches.shape, np.int64)
        for line, row in enumerate(block):
            columns = matches[line, filled[line]] - line * block.shape[1]
            found[line, : len(columns)] = stable_positions(row, columns)
        return found
    found, tied = counter.counts(block, values)
    for line, pair in zip(*np.nonzero(tied & filled), strict=True):
        before = block[line, : matches[line, pair] - line * block.shape[1]]
        found[line, pair] += np.count_nonzero(before == values[line, pair])
    return found


class Counter:
    """Counts for values of rows, of length G, how many numbers of their row are smaller."""

    def __init__(self, length: int) -> None:
        self.length = length
        words = math.ceil(length / WORD)
        self._groups = max(1, math.ceil(words / MOST_WORDS))
        self._words = math.ceil(words / self._groups)
        # Bytes that the outcomes of a comparison of a value with its row take
        self.stride = self._groups * self._words * WORD
        # What is beyond the row stays False.
        self._outcomes = np.zeros((0, self.stride), bool)

    def counts(self, block: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count for each value (r, M) the numbers of its row of ``block`` (r, G) that are smaller.

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
