"""Counting and sorting against a stable argsort, where words, bytes and pieces end."""

from __future__ import annotations

import numpy as np
import pytest
from fasteval.ranking import positions, positions_sorted
from fasteval.ranking.positions import MOST_WORDS, WORD, Counter, kept_positions
from fasteval.ranking.positions_sorted import PIECE

FULL = MOST_WORDS * WORD  # images at which a byte of the sum is full


@pytest.mark.parametrize("length", [1, 7, 8, 9, FULL - 1, FULL, FULL + 1, 2 * FULL + 3])
@pytest.mark.parametrize("levels", [2, 10**9])
def test_counts(length, levels) -> None:
    """Three rows, five values of each; with two levels all numbers are tied."""
    rng = np.random.default_rng(length)
    block = (rng.integers(0, levels, (3, length)) / 7).astype(np.float32)
    values = np.take_along_axis(block, rng.integers(0, length, (3, 5)), 1)
    smaller = (block[:, None] < values[:, :, None]).sum(2)
    several = (block[:, None] == values[:, :, None]).sum(2) > 1
    for part in (slice(0, 3), slice(1, 2)):  # of a counter that is used again
        found, tied = Counter(length).counts(block[part], values[part])
        np.testing.assert_array_equal(found, smaller[part])
        np.testing.assert_array_equal(tied, several[part])


def assert_is_a_stable_argsort(
    dist: np.ndarray, counts: list[int], share_of_junk: float, rng: np.random.Generator
) -> None:
    """Draw so many pairs of each row and compare their positions, ascending in each row."""
    rows = np.repeat(np.arange(len(dist)), counts)
    columns = [np.sort(rng.choice(dist.shape[1], count, replace=False)) for count in counts]
    junk = rng.random(len(rows)) < share_of_junk
    order = np.argsort(dist, axis=1, kind="stable")
    before = dist.copy()
    pairs = np.concatenate(columns)
    got = kept_positions(dist, rows, pairs, junk)
    assert len(got) == np.count_nonzero(~junk)
    for row in range(len(dist)):
        ranked = order[row][~np.isin(order[row], pairs[junk & (rows == row)])]
        wanted = np.flatnonzero(np.isin(ranked, pairs[~junk & (rows == row)]))
        np.testing.assert_array_equal(np.sort(got[rows[~junk] == row]), wanted)
    np.testing.assert_array_equal(dist, before)


@pytest.mark.parametrize("length", [10, 700, 5000])
@pytest.mark.parametrize("levels", [1, 50, 10**9])
@pytest.mark.parametrize("share_of_junk", [0.0, 0.3])
@pytest.mark.parametrize("batch_bytes", [1, 2**20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_a_stable_argsort(
    length, levels, share_of_junk, batch_bytes, dtype, monkeypatch
) -> None:
    """Rows with no pair, with few and with as many as images; one level = everything is tied."""
    monkeypatch.setattr(positions, "BATCH_BYTES", batch_bytes)
    monkeypatch.setattr(positions, "SORTED_BYTES", batch_bytes)
    rng = np.random.default_rng(0)
    dist = (rng.integers(0, levels, (6, length)) / 7).astype(dtype)
    dist[rng.random(dist.shape) < 0.1] = np.inf
    counts = np.minimum([0, 1, 5, length, 0, 40], length)
    assert_is_a_stable_argsort(dist, counts, share_of_junk, rng)


@pytest.mark.parametrize("num_pairs", [6, PIECE // 2, PIECE // 2 + 1])
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("num_pieces", [1, 2, 5])
def test_where_pieces_end(num_pairs, more, num_pieces) -> None:
    """As many images as fill the pieces, beside the pairs, and one more or less; half are tied."""
    rng = np.random.default_rng(0)
    dist = rng.random((4, num_pieces * (PIECE - num_pairs) + more), np.float32)
    dist[:, ::2] = dist[:, ::2].round(2)
    counts = np.minimum([num_pairs, num_pairs - 1, 6, num_pairs], dist.shape[1])
    assert_is_a_stable_argsort(dist, counts, 0.1, rng)


@pytest.mark.parametrize("largest", [2.0, 1e4, np.inf])
@pytest.mark.parametrize("smallest", [-0.0, -1e-30, -1e-7, -3.0, -np.inf])
@pytest.mark.parametrize("many_ties", [0, 64])
def test_negative_distances(largest, smallest, many_ties, monkeypatch) -> None:
    """Also with others so large that their bits do not fit; -0 equals 0."""
    monkeypatch.setattr(positions_sorted, "MANY_TIES", many_ties)
    rng = np.random.default_rng(0)
    dist = rng.choice(np.float32([smallest, 0, 1e-7, 0.5, 0.75, largest]), (5, 700))
    dist[:, ::3] *= rng.random(dist[:, ::3].shape, np.float32) + np.float32(1e-3)
    assert np.signbit(dist).any()
    assert_is_a_stable_argsort(dist, [0, 6, 20, 150, 300], 0.2, rng)


def test_no_pairs() -> None:
    nothing = np.empty(0, np.int64)
    assert len(kept_positions(np.zeros((3, 5)), nothing, nothing, nothing.astype(bool))) == 0


def test_numpys_buffer_is_as_it_was() -> None:
    before = np.getbufsize()
    with pytest.raises(ValueError):
        Counter(5).counts(np.zeros((2, 4)), np.zeros((2, 1)))
    assert np.getbufsize() == before
