"""Counting against sorting, where words and bytes end."""

from __future__ import annotations

import numpy as np
import pytest
from fasteval import positions
from fasteval.positions import MOST_WORDS, WORD, Counter, kept_positions

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


@pytest.mark.parametrize("length", [10, 700, 5000])
@pytest.mark.parametrize("levels", [1, 50, 10**9])
@pytest.mark.parametrize("share_of_junk", [0.0, 0.3])
@pytest.mark.parametrize("batch_bytes", [1, 2**19])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_a_stable_argsort(
    length, levels, share_of_junk, batch_bytes, dtype, monkeypatch
) -> None:
    """Rows with no pair, with few and with as many as images; one level = everything is tied."""
    monkeypatch.setattr(positions, "BATCH_BYTES", batch_bytes)
    rng = np.random.default_rng(0)
    dist = (rng.integers(0, levels, (6, length)) / 7).astype(dtype)
    dist[rng.random(dist.shape) < 0.1] = np.inf
    counts = np.minimum([0, 1, 5, length, 0, 40], length)
    rows = np.repeat(np.arange(6), counts)
    columns = np.concatenate([rng.choice(length, count, replace=False) for count in counts])
    junk = rng.random(len(rows)) < share_of_junk
    order = np.argsort(dist, axis=1, kind="stable")
    before = dist.copy()
    wanted = []
    for row, column in zip(rows[~junk], columns[~junk], strict=True):
        ranked = order[row][~np.isin(order[row], columns[junk & (rows == row)])]
        wanted.append(np.flatnonzero(ranked == column)[0])
    np.testing.assert_array_equal(kept_positions(dist, rows, columns, junk), wanted)
    np.testing.assert_array_equal(dist, before)


def test_no_pairs() -> None:
    nothing = np.empty(0, np.int64)
    assert len(kept_positions(np.zeros((3, 5)), nothing, nothing, nothing.astype(bool))) == 0


def test_numpys_buffer_is_as_it_was() -> None:
    before = np.getbufsize()
    with pytest.raises(ValueError):
        Counter(5).counts(np.zeros((2, 4)), np.zeros((2, 1)))
    assert np.getbufsize() == before
