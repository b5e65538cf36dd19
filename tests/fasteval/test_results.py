"""Results files: what is written is what is read, by this reader and by TransReID's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fasteval.results import result_set
from fasteval.results.result_set import ResultSet, read_results, write_results
from reid_common.errors import UserError
from reid_core.side_information.rows import FIRST_WITHOUT_CAMERA
from transreid.inference.feature_files import FeatureSet, read_features, write_features

FORMATS = (".npz", ".parquet")


def some_results(count: int = 20, num_query: int = 6, top: int = 4) -> ResultSet:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(count, 8)).astype(np.float32) * rng.uniform(0.5, 90, (count, 1))
    indices = rng.integers(0, count - num_query, (num_query, top))
    distances = rng.random((num_query, top)).astype(np.float32)
    indices[0, 2:], distances[0, 2:] = -1, np.inf
    return ResultSet(
        features.astype(np.float32),
        rng.integers(0, 5, count),
        rng.integers(-1, 3, count),
        num_query,
        [f"/data/ü {number}.jpg" for number in range(count)],
        rng.integers(-1, 8, count),
        indices,
        distances,
        {"scores": {"mAP": 12.5}, "evaluation": {"metric": "cosine"}},
    )


def assert_same(one: ResultSet, other: ResultSet) -> None:
    np.testing.assert_allclose(one.features, other.features, rtol=1e-6)
    for name in ("pids", "camids", "viewids", "topk_indices", "topk_distances"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert (one.num_query, one.paths, one.meta) == (other.num_query, other.paths, other.meta)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("block_rows", [4, 8192])
def test_round_trip(tmp_path: Path, monkeypatch, suffix: str, block_rows: int) -> None:
    """Blocks end within the queries, within the gallery and where one passes into the other."""
    monkeypatch.setattr(result_set, "BLOCK_ROWS", block_rows)
    results = some_results()
    path = tmp_path / "new" / f"results{suffix}"
    write_results(path, results)
    assert_same(read_results(path), results)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_not_known_may_be_absent(tmp_path: Path, suffix: str) -> None:
    results = replace(some_results(), viewids=None, topk_indices=None, topk_distances=None)
    write_results(tmp_path / f"a{suffix}", results)
    assert_same(read_results(tmp_path / f"a{suffix}"), results)


@pytest.mark.parametrize("suffix", FORMATS)
def test_transreid_reads_results(tmp_path: Path, suffix: str) -> None:
    results = some_results()
    write_results(tmp_path / f"a{suffix}", results)
    features = read_features(tmp_path / f"a{suffix}")
    normalised = results.features / np.linalg.norm(results.features, axis=1, keepdims=True)
    np.testing.assert_allclose(features.features, normalised, atol=1e-6)
    assert features.paths == results.paths and features.meta == results.meta
    for name in ("pids", "camids", "viewids"):
        np.testing.assert_array_equal(getattr(features, name), getattr(results, name))


@pytest.mark.parametrize("suffix", FORMATS)
def test_reads_feature_files_of_transreid(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"features{suffix}"
    ids = {"pids": np.array([1, 2, 1]), "camids": np.array([0, -1, -1])}
    write_features(path, FeatureSet(["a", "b", "c"], np.eye(3, dtype=np.float32), **ids))
    with pytest.raises(UserError, match="--num-query"):
        read_results(path)
    results = read_results(path, num_query=1)
    assert results.num_query == 1 and results.gallery_paths == ["b", "c"]
    np.testing.assert_array_equal(results.features, np.eye(3))
    # unknown cameras are told apart, so that they are no reason to leave a match out
    assert results.camids.tolist() == [0, FIRST_WITHOUT_CAMERA - 1, FIRST_WITHOUT_CAMERA - 2]
    write_features(path, FeatureSet(["a", "b", "c"], np.eye(3, dtype=np.float32)))
    with pytest.raises(UserError, match="lacks pids and camids"):
        read_results(path, num_query=1)


@pytest.mark.parametrize("suffix", FORMATS)
def test_features_of_a_diverged_model_are_written(tmp_path: Path, suffix: str) -> None:
    results = some_results()
    results.features[3] = 0
    results.features[4, 2] = np.nan
    write_results(tmp_path / f"a{suffix}", results)
    read = read_results(tmp_path / f"a{suffix}").features
    np.testing.assert_allclose(read, results.features, rtol=1e-6)


def test_a_failed_write_leaves_the_older_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "results.npz"
    write_results(path, some_results())
    before = path.read_bytes()

    def disk_is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", disk_is_full)
    with pytest.raises(UserError, match="No space left on device"):
        write_results(path, some_results(count=30))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["results.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_query": 20}, "with 20 queries"),
        ({"num_query": 0}, "with 0 queries"),
        ({"pids": np.zeros(3, int)}, r"pids is \(3,\) for 20 images"),
        ({"paths": ["a"]}, "1 paths for 20 images"),
        ({"topk_distances": None}, "not of one shape"),
        ({"topk_indices": np.full((6, 4), 14)}, r"leave the gallery's 0\.\.13"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_results(tmp_path / "a.npz", replace(some_results(), **change))
    assert not list(tmp_path.iterdir())


def test_names_and_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end it in \.npz or \.parquet"):
        write_results(tmp_path / "a.csv", some_results())
    with pytest.raises(UserError, match="there is no results file"):
        read_results(tmp_path / "a.npz")
    for suffix in FORMATS:
        broken = tmp_path / f"broken{suffix}"
        broken.write_bytes(b"not a file of this kind")
        with pytest.raises(UserError, match="cannot be read"):
            read_results(broken)
    np.savez(tmp_path / "other.npz", something=np.ones(3))
    with pytest.raises(UserError, match="lacks paths and features; it holds something"):
        read_results(tmp_path / "other.npz")
