"""Counting against sorting, where words and bytes end."""

from __future__ import annotations

import numpy as np
import pytest
from fasteval.positions import MOST_WORDS, WORD, Counter, stable_positions

FULL = MOST_WORDS * WORD  # images at which a byte of the sum is full


@pytest.mark.parametrize("length", [1, 7, 8, 9, FULL - 1, FULL, FULL + 1, 2 * FULL + 3])
def test_counts(length) -> None:
    row = np.random.default_rng(length).random(length).astype(np.float32)
    counter = Counter(length, 5)
    for values in (np.array([-1, 0.5, 2], np.float32), row[:1], np.full(5, 2, np.float32)):
        for compare in (np.less, np.less_equal, np.greater):
            wanted = [np.count_nonzero(compare(row, value)) for value in values]
            assert counter.count(compare, row, values).tolist() == wanted


@pytest.mark.parametrize("length", [10, 700, 5000])
@pytest.mark.parametrize("levels", [1, 50, 10**9])
def test_is_a_stable_argsort(length, levels) -> None:
    """Rows with no pair, with few and with as many as images; one level = everything is tied."""
    rng = np.random.default_rng(0)
    dist = (rng.integers(0, levels, (6, length)) / 7).astype(np.float32)
    counts = np.minimum([0, 1, 5, length, 0, 40], length)
    rows = np.repeat(np.arange(6), counts)
    columns = np.concatenate([rng.choice(length, count, replace=False) for count in counts])
    wanted = np.argsort(np.argsort(dist, axis=1, kind="stable"), axis=1)[rows, columns]
    np.testing.assert_array_equal(stable_positions(dist, rows, columns), wanted)


def test_no_pairs() -> None:
    nothing = np.empty(0, np.int64)
    assert len(stable_positions(np.zeros((3, 5)), nothing, nothing)) == 0
