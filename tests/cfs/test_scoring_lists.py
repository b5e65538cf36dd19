"""Lists and figures of scores."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from cfs.scores.lists import write_list
from cfs.scores.reading import Scores
from cfs.scores.summary import folder_means, summarise
from dinopretrain.data.listing import read_list
from dinopretrain.data.path_list import PathList
from reid_common.errors import UserError

NAMES = ["b/2.jpg", "a/1.jpg", "ü/ 3.jpg", "a/0.jpg"]
VALUES = np.array([0.75, 0.5, 0.5, 0.25], np.float32)


@pytest.mark.parametrize("name", ["l.txt", "l.lst", "l.parquet", "CFS_list.pkl", "L.PKL"])
def test_a_list_is_read_as_it_was_written(name, tmp_path) -> None:
    write_list(tmp_path / name, PathList.from_iterable(NAMES), VALUES)
    assert list(read_list(str(tmp_path / name))) == NAMES
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_released_format(tmp_path) -> None:
    """One pickled Python list of str, best first."""
    write_list(tmp_path / "CFS_list.pkl", PathList.from_iterable(NAMES), VALUES)
    assert pickle.loads((tmp_path / "CFS_list.pkl").read_bytes()) == NAMES
    # As written by others, in all protocols; and many, which the pickler memoises and batches.
    many = [f"{number:07d}.jpg" for number in range(2500)]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "theirs.pkl").write_bytes(pickle.dumps(many, protocol))
        assert list(read_list(str(tmp_path / "theirs.pkl"))) == many


def test_a_malicious_pickle_is_refused(tmp_path) -> None:
    """It would make a file when it is unpickled."""
    made = tmp_path / "made"

    class Malicious:
        def __reduce__(self):
            return open, (str(made), "w")

    path = tmp_path / "CFS_list.pkl"
    path.write_bytes(pickle.dumps(["a.jpg", Malicious()]))
    with pytest.raises(UserError, match="no pickled list of names"):
        read_list(str(path))
    assert not made.exists()
    pickle.loads(path.read_bytes())
    assert made.exists()


def test_scores_stand_in_a_parquet_list(tmp_path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_list(tmp_path / "l.parquet", PathList.from_iterable(NAMES), VALUES)
    table = parquet.read_table(tmp_path / "l.parquet")
    assert table["image"].to_pylist() == NAMES
    assert table["score"].to_pylist() == VALUES.tolist()


@pytest.mark.parametrize("suffix", ["txt", "parquet", "pkl"])
def test_an_empty_list(suffix, tmp_path) -> None:
    path = tmp_path / f"l.{suffix}"
    write_list(path, PathList.from_iterable([]), np.zeros(0, np.float32))
    with pytest.raises(UserError, match="names no image"):
        read_list(str(path))


@pytest.mark.parametrize("name", [" a.jpg", "a.jpg ", "#a.jpg", "a\nb.jpg", "a\rb.jpg"])
def test_names_that_text_cannot_hold(name, tmp_path) -> None:
    names = PathList.from_iterable(["first.jpg", name])
    with pytest.raises(UserError, match=r"write .parquet or .pkl"):
        write_list(tmp_path / "l.txt", names, VALUES[:2])
    assert not list(tmp_path.iterdir())
    write_list(tmp_path / "l.pkl", names, VALUES[:2])
    assert list(read_list(str(tmp_path / "l.pkl"))) == ["first.jpg", name]


def test_other_suffixes_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"'.*l.csv' is no list; end its name in .txt"):
        write_list(tmp_path / "l.csv", PathList.from_iterable(NAMES), VALUES)


def test_means_of_top_folders() -> None:
    """Of s1: (0.5 + 1) / 2, its bad image not counted; of the images in no folder: 0.25."""
    names = ["s1/x/1.jpg", "2.jpg", "s1/3.jpg", "s0/4.jpg", "s1/5.jpg", "s2/6.jpg"]
    values = np.array([0.5, 0.25, 1.0, 0.8, np.nan, np.nan], np.float32)
    found = folder_means(PathList.from_iterable(names), values)
    assert [(name, count) for name, count, _ in found] == [("s0", 1), ("s1", 3), ("", 1), ("s2", 1)]
    np.testing.assert_allclose([mean for _, _, mean in found], [0.8, 0.75, 0.25, math.nan])


def test_summary() -> None:
    """101 scores 0.00, 0.01 ... 1.00 in random order: the quantile q is q."""
    values = np.random.default_rng(0).permutation(101).astype(np.float32) / 100
    values = np.append(values, [np.nan] * 3).astype(np.float32)
    paths = PathList.from_iterable(f"{number}.jpg" for number in range(104))
    reasons = [("1", "empty file"), ("2", "not an image"), ("3", "empty file")]
    summary = summarise(Scores(paths, values), reasons)
    assert summary.count == 104
    assert list(summary.bad.items()) == [("empty file", 2), ("not an image", 1)]
    assert summary.mean == pytest.approx(0.5)
    for share, value in summary.quantiles.items():
        assert value == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("count", [0, 2])
def test_summary_without_scores(count) -> None:
    paths = PathList.from_iterable(["a.jpg", "b.jpg"][:count])
    reasons = [(name, "empty file") for name in paths]
    summary = summarise(Scores(paths, np.full(count, np.nan, np.float32)), reasons)
    assert (summary.count, summary.quantiles) == (count, {})
    assert math.isnan(summary.mean)
