"""The codec of columns, and files that earlier versions wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fasteval.results.result_set import read_results
from reid_common.column_files.columns import Blocks
from reid_common.column_files.files import read_columns, write_columns
from reid_common.errors import UserError
from transreid.inference.feature_files import read_features, read_meta

SUFFIXES = (".npz", ".parquet")
ROWS = np.arange(15, dtype=np.float32).reshape(5, 3)


def write(path: Path, **more: np.ndarray) -> None:
    blocks = Blocks((5, 3), iter((ROWS[:2], ROWS[2:2], ROWS[2:])))
    columns = {"names": [*"abcdü"], "rows": blocks, "ids": np.arange(5), **more}
    write_columns(path, columns, {"a": [1]}, {"first": 2})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_only_what_is_asked_for_is_read(tmp_path, suffix) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, nearest=np.array([[1, 2], [3, 4], [5, 6]]))
    read = read_columns(path, ("names", "rows"), ("nearest", "absent"), ("first", "last"))
    assert (read.meta, read.numbers) == ({"a": [1]}, {"first": 2})
    assert set(read.columns) == {"names", "rows", "nearest"}
    assert list(read.columns["names"]) == [*"abcdü"]
    np.testing.assert_array_equal(read.columns["rows"], ROWS)
    assert read.columns["rows"].dtype == np.float32
    # A matrix of the first three rows only, over the border of two blocks.
    np.testing.assert_array_equal(read.columns["nearest"], [[1, 2], [3, 4], [5, 6]])
    with pytest.raises(UserError, match=r"lacks x and y; it holds .*names"):
        read_columns(path, ("x", "names", "y"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_content_gives_the_same_bytes(tmp_path, suffix) -> None:
    for name in "ab":
        write(tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_lists_of_several_lengths_are_refused(tmp_path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"names": ["a"], "rows": [[1.0]]}), path)
    with pytest.raises(UserError, match=r"rows are list<.*, not lists of one length"):
        read_columns(path, ("names", "rows"))


def _earlier(folder: Path, suffix: str) -> Path:
    """A results file in the layout of the versions that had a codec of their own for it."""
    features = np.eye(4, dtype=np.float32)
    columns = {"pids": [1, 1, 1, 2], "camids": [0, 1, 2, 0], "viewids": [-1, 0, 1, -1]}
    nearest, distances = np.array([[1, 0]]), np.array([[0.5, 0.75]], np.float32)
    path, paths = folder / f"earlier{suffix}", ["q", "a", "b", "ü"]
    if suffix == ".npz":
        ranking = {"topk_indices": nearest, "topk_distances": distances}
        small = {"paths": paths, "meta": '{"dataset": "x"}', "num_query": 1, **columns, **ranking}
        np.savez(path, **small, norms=np.float32([1, 2, 3, 4]), features=features)
        return path
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"paths": pa.array(paths), "norms": pa.array([1, 2, 3, 4], pa.float32())}
    table |= {name: pa.array(values) for name, values in columns.items()}
    table["features"] = pa.array(features.tolist(), pa.list_(pa.float32(), 4))
    table["topk_indices"] = pa.array([[1, 0], None, None, None], pa.list_(pa.int64(), 2))
    gaps = [[0.5, 0.75], None, None, None]
    table["topk_distances"] = pa.array(gaps, pa.list_(pa.float32(), 2))
    metadata = {"transreid": '{"dataset": "x"}', "num_query": "1"}
    parquet.write_table(pa.table(table).replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_earlier_versions(tmp_path, suffix) -> None:
    path = _earlier(tmp_path, suffix)
    results = read_results(path)
    assert (results.num_query, results.paths) == (1, ["q", "a", "b", "ü"])
    np.testing.assert_array_equal(results.features, np.diag([1, 2, 3, 4]))
    np.testing.assert_array_equal(results.topk_indices, [[1, 0]])
    np.testing.assert_array_equal(results.topk_distances, np.float32([[0.5, 0.75]]))
    assert results.meta == {"dataset": "x"} and results.viewids.tolist() == [-1, 0, 1, -1]
    features = read_features(path)
    np.testing.assert_array_equal(features.features, np.eye(4))
    assert features.camids.tolist() == [0, 1, 2, 0]
    assert read_meta(path) == ({"dataset": "x"}, 4)
