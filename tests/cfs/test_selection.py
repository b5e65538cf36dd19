"""Selection by score against examples sorted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from cfs.scores.selection import number_kept, select
from dinopretrain.data.path_list import PathList
from reid_common.errors import UserError

NAN = float("nan")
#          0    1    2    3    4    5
PATHS = ["d", "b", "a", "c", "e", "B"]
SCORES = np.array([0.5, 0.9, 0.5, NAN, 0.5, -0.2], np.float32)
# 0.9: b. 0.5: a, d, e. -0.2: B. c has no score.
BEST_FIRST = [1, 2, 0, 4, 5]


@pytest.mark.parametrize("paths", [PATHS, PathList.from_iterable(PATHS)], ids=["list", "PathList"])
@pytest.mark.parametrize(
    "how, count",
    [
        ({}, 5),
        ({"keep": 1.0}, 5),
        ({"keep": 1}, 5),
        ({"keep": 0.5}, 3),  # 2.5 of five: half up
        ({"keep": 0.29}, 1),  # 1.45
        ({"keep": 0.0}, 0),
        ({"keep_num": 0}, 0),
        ({"keep_num": 2}, 2),  # cuts the run of 0.5 after its first path
        ({"keep_num": 5}, 5),
        ({"keep_num": 99}, 5),
    ],
    ids=str,
)
def test_highest_first_ties_by_path(paths, how, count) -> None:
    chosen = select(paths, SCORES, **how)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == BEST_FIRST[:count]


def test_no_images() -> None:
    for scores in (np.zeros(0, np.float32), np.zeros(0)):
        assert select([], scores, keep=0.5).tolist() == []


def test_no_scores() -> None:
    assert select(["a", "b"], np.array([NAN, NAN]), keep_num=2).tolist() == []


def test_paths_are_sorted_by_their_bytes() -> None:
    """Capitals before small letters, an umlaut after both, a byte that is no UTF-8 last."""
    paths = ["ä", "a", "Z", b"\xff".decode("utf-8", "surrogateescape"), "a"]
    assert select(paths, np.zeros(5)).tolist() == [2, 1, 4, 0, 3]


def test_infinite_scores_are_scores() -> None:
    assert select(["a", "b", "c"], np.array([-np.inf, 0, np.inf])).tolist() == [2, 1, 0]


def test_numbers_of_the_paper() -> None:
    assert number_kept(4_180_243, keep=0.5) == 2_090_122  # 2,090,121.5
    assert number_kept(4_180_243, keep=0.6) == 2_508_146  # 2,508,145.8
    assert number_kept(50, keep=0.29) == 15  # 14.5, which binary floats miss


def test_agrees_with_a_sort_of_tuples() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 40, 3000).astype(np.float32) / 40
    scores[rng.random(3000) < 0.05] = NAN
    paths = [f"{number:05d}" for number in rng.permutation(3000)]
    rows = [i for i in range(3000) if not np.isnan(scores[i])]
    expected = sorted(rows, key=lambda i: (-scores[i], paths[i]))
    assert select(paths, scores).tolist() == expected
    assert select(paths, scores, keep_num=777).tolist() == expected[:777]


@pytest.mark.parametrize(
    "how, message",
    [
        ({"keep": 1.5}, "keep is 1.5; write a fraction"),
        ({"keep": -0.1}, "keep is -0.1"),
        ({"keep": NAN}, "keep is nan"),
        ({"keep": "50%"}, "keep is '50%'"),
        ({"keep": True}, "keep is True"),
        ({"keep_num": -1}, "keep_num is -1"),
        ({"keep_num": 2.5}, "keep_num is 2.5"),
        ({"keep": 0.5, "keep_num": 2}, "leave one of them out"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_refused(how, message) -> None:
    with pytest.raises(UserError, match=message):
        select(PATHS, SCORES, **how)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="6 paths"):
        select(PATHS, SCORES[:5])
