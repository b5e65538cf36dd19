"""Positions of matches by sorting them into pieces of their row, where nothing is searched.

numpy sorts 512 numbers by vector instructions alone, without a branch. A row is therefore cut into
pieces, and all matches of the row are sorted into each of them. Where the j-th match ends up in a
piece, less j, is how many of the other images of that piece are nearer. These numbers of all
pieces, and j, add up to its position.

Bits of float32 that are not negative have the order of the numbers, and leave one bit free: it
becomes the last one and marks matches, which finds them again and puts them behind others that are
equally near. What those are is seen in the neighbour before a match, and counted out.

Letters: r rows of a batch, G gallery images, M matches of a row, n pieces, L numbers of a piece.
"""

from __future__ import annotations

import numpy as np

PIECE = 512  # numbers
FARTHEST = 0x7FFFFFFF  # bits beyond those of infinity: of images that do not count
NOTHING = 0xFFFFFFFF  # key of what only fills up the matches of a row
# Tied distances of a row from which on its stable argsort is cheaper than to count them one by one
MANY_TIES = 64


def sorted_positions(
    block: np.ndarray, matches: np.ndarray, filled: np.ndarray, removed: np.ndarray
) -> np.ndarray | None:
    """Positions, 0-based, of matches in a stable ascending sort of what is left of their row.

    Args:
        block: (r, G) float32 without NaN, contiguous; overwritten.
        matches: (r, M) their indices in the flattened block, ascending in a row where ``filled``.
        filled: (r, M) bool, which of them are there: the first ones of each row.
        removed: indices in the flattened block of images that do not count.

    Returns:
        (r, M) int64, ascending in a row where ``filled``, of no meaning elsewhere; None if there
        are negative distances and others so large that the bits do not suffice (of infinite ones,
        or of -1e-3 and 2e5; never of cosine distances). ``block`` is as it was then.
    """
    bits = block.view(np.int32)
    flat = bits.reshape(-1)
    if not _give_order_of_numbers(flat):
        return None
    marked = np.where(filled, flat[matches].view(np.uint32) << 1 | 1, np.uint32(NOTHING))
    flat[matches] = FARTHEST
    flat[removed] = FARTHEST
    keys = _in_pieces(bits.view(np.uint32), marked)
    keys.sort(axis=2)
    num_pieces, length = keys.shape[1:]
    # An uint8 keeps the last bits; 0 and 1 are the bytes of a bool.
    where = np.flatnonzero((keys.astype(np.uint8) & 1).view(bool))
    own, before = keys.reshape(-1)[where], keys.reshape(-1)[where - 1]
    shape = (len(block), num_pieces, marked.shape[1])
    within = where.reshape(shape) - length * np.arange(len(block) * num_pieces).reshape(
        -1, num_pieces, 1
    )
    found = within.sum(axis=1) - (num_pieces - 1) * np.arange(shape[2])
    # Behind a number that differs in the mark alone. (Only the first of equal matches is.)
    tied = (before == own - 1).reshape(shape).any(axis=1) & filled
    for line in np.flatnonzero(tied.any(axis=1)):
        columns = matches[line, filled[line]] - line * block.shape[1]
        values = (marked[line, filled[line]] >> 1).view(np.int32)
        found[line, : len(columns)] = _with_ties(
            found[line, : len(columns)], np.flatnonzero(tied[line]), bits[line], columns, values
        )
    return found


def stable_positions(row: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Positions (M,) int64 of ``columns`` (M,) in a stable argsort of ``row`` (G,), ascending."""
    ranks = np.empty(len(row), np.int64)
    ranks[np.argsort(row, kind="stable")] = np.arange(len(row))
    return np.sort(ranks[columns])


def _give_order_of_numbers(flat: np.ndarray) -> bool:
    """Make int32 bits of float32 integers 0..FARTHEST - 1 of their order; False if they cannot."""
    if flat.min() >= 0:
        return True
    # The sign is the highest bit; -0 equals 0.
    ordered = np.where(flat < 0, -(flat & FARTHEST), flat)
    lowest, highest = int(ordered.min()), int(ordered.max())
    if highest - lowest >= FARTHEST:
        return False
    np.subtract(ordered, lowest, out=flat)
    return True


def _in_pieces(bits: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Keys (r, n, L) uint32, not sorted: pieces of ``bits`` (r, G), each with ``marked`` (r, M)."""
    rows, length = bits.shape
    room = PIECE - marked.shape[1]
    # More matches than half of a piece: sorting whole rows takes less.
    num_pieces = -(-length // room) if room >= PIECE // 2 else 1
    size = -(-length // num_pieces)
    keys = np.empty((rows, num_pieces, size + marked.shape[1]), np.uint32)
    last = (num_pieces - 1) * size
    parts = bits[:, :last].reshape(rows, num_pieces - 1, size)
    np.left_shift(parts, 1, out=keys[:, :-1, :size])
    np.left_shift(bits[:, last:], 1, out=keys[:, -1, : length - last])
    keys[:, -1, length - last : size] = FARTHEST << 1
    keys[:, :, size:] = marked[:, None]
    return keys


def _with_ties(
    found: np.ndarray, groups: np.ndarray, row: np.ndarray, columns: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Positions (M,) of a row where others are as near as matches, which were put behind them.

    Args:
        found: (M,) positions behind all others that are as near.
        groups: which of ``found`` are the first of matches with the distance of another.
        row: (G,) bits of the others.
        columns: (M,) columns of the matches, ascending.
        values: (M,) their bits.
    """
    if len(groups) > MANY_TIES:
        whole = row.copy()
        whole[columns] = values
        return stable_positions(whole, columns)
    found, ordered = found.copy(), np.sort(values)
    for first in groups:
        others = np.flatnonzero(row == ordered[first])
        mine = columns[values == ordered[first]]
        found[first : first + len(mine)] -= len(others) - np.searchsorted(others, mine)
    return found
