"""Feature and ranking files: what is written is read, and nothing else passes for one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from reid_common.errors import UserError
from transreid.inference.feature_files import (
    FeatureSet,
    Ranking,
    read_features,
    read_meta,
    read_ranking,
    write_feature_blocks,
    write_features,
    write_ranking,
)

SUFFIXES = (".npz", ".parquet") if importlib.util.find_spec("pyarrow") else (".npz",)


def unit(rows: int, dim: int = 5, seed: int = 0) -> np.ndarray:
    features = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def feature_set(rows: int = 7) -> FeatureSet:
    paths = [f"höhle/{i:03d} b.png" for i in range(rows)]
    meta = {"weights_sha256": "12", "config": {"MODEL": [1, 2]}}
    pids = np.arange(rows) * 2**40
    return FeatureSet(paths, unit(rows), pids=pids, camids=np.arange(rows) - 1, meta=meta)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path, suffix) -> None:
    written = feature_set()
    file = tmp_path / "new" / f"features{suffix}"
    write_features(file, written)
    read = read_features(str(file))
    assert read.paths == written.paths
    assert read.meta == written.meta
    np.testing.assert_array_equal(read.features, written.features)
    assert read.features.dtype == np.float32
    np.testing.assert_array_equal(read.pids, written.pids)
    np.testing.assert_array_equal(read.camids, written.camids)
    assert read.viewids is None
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert read_meta(file) == (written.meta, 7)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_blocks_make_the_same_file_as_the_whole(tmp_path, suffix) -> None:
    whole = feature_set()
    blocks = (whole.features[rows] for rows in (slice(0, 3), slice(3, 3), slice(3, 7)))
    file = tmp_path / f"blocks{suffix}"
    write_feature_blocks(file, whole.paths, 5, blocks, whole.ids, whole.meta)
    read = read_features(file)
    np.testing.assert_array_equal(read.features, whole.features)
    assert read.paths == whole.paths
    np.testing.assert_array_equal(read.camids, whole.camids)


def test_numpy_alone_reads_npz(tmp_path) -> None:
    write_features(tmp_path / "a.npz", feature_set())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file.files) == {"paths", "features", "pids", "camids", "meta"}
        assert file["features"].shape == (7, 5)


def test_the_same_features_give_the_same_bytes(tmp_path) -> None:
    for name in ("a.npz", "b.npz"):
        write_features(tmp_path / name, feature_set())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    file = tmp_path / "a.npz"
    write_features(file, feature_set())
    before = file.read_bytes()

    def breaks() -> Iterator[np.ndarray]:
        yield unit(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_feature_blocks(file, ["x"] * 7, 5, breaks())
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_does_not_fit_is_not_written(tmp_path, suffix) -> None:
    file = tmp_path / f"a{suffix}"
    good, paths = unit(3), ["a", "b", "c"]
    cases: list[tuple[FeatureSet, str]] = [
        (FeatureSet(paths, good * 2), "feature 0 has length 2, not 1"),
        (FeatureSet(paths, np.where(np.eye(3, 5), np.nan, good)), "feature 0 has length nan"),
        (FeatureSet(paths[:2], good), "3 features for 2 paths"),
        (FeatureSet([*paths, "d"], good), "3 features for 4 paths"),
        (FeatureSet(paths, good, pids=np.arange(2)), r"pids is \(2,\) for 3 images"),
    ]
    for features, message in cases:
        with pytest.raises(UserError, match=message):
            write_features(file, features)
    with pytest.raises(UserError, match=r"a block of features is \(3, 5\), not \(n, 4\)"):
        write_feature_blocks(file, paths, 4, [good])
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"end it in \.npz or \.parquet"):
        write_features(tmp_path / "a.csv", FeatureSet(paths, good))


def _damage(path: Path) -> Path:
    path.write_bytes(b"no feature file at all")
    return path


def test_what_is_no_feature_file_is_not_read(tmp_path) -> None:
    with pytest.raises(UserError, match=r"no feature file .*nowhere\.npz"):
        read_features(tmp_path / "nowhere.npz")
    for suffix in SUFFIXES:
        with pytest.raises(UserError, match="cannot be read"):
            read_features(_damage(tmp_path / f"a{suffix}"))
        with pytest.raises(UserError, match="cannot be read"):
            read_meta(tmp_path / f"a{suffix}")
    np.savez(tmp_path / "b.npz", features=unit(2))
    with pytest.raises(UserError, match="lacks paths; it holds features"):
        read_features(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", features=unit(2), paths=["a"])
    with pytest.raises(UserError, match=r"features are \(2, 5\) for 1 paths"):
        read_features(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", features=np.ones((1, 4)), paths=["a"])
    with pytest.raises(UserError, match="length 2, not 1"):
        read_features(tmp_path / "d.npz")


def test_ranking_round_trip(tmp_path) -> None:
    ranking = Ranking(
        ["q"],
        ["a", "b"],
        np.array([[1, 0, -1]]),
        np.array([[0.5, 0.25, -np.inf]], np.float32),
        query_pids=np.array([4]),
        gallery_camids=np.array([0, -1]),
    )
    write_ranking(tmp_path / "r.npz", ranking)
    read = read_ranking(tmp_path / "r.npz")
    assert (read.query_paths, read.gallery_paths) == (["q"], ["a", "b"])
    np.testing.assert_array_equal(read.indices, ranking.indices)
    np.testing.assert_array_equal(read.similarities, ranking.similarities)
    np.testing.assert_array_equal(read.query_pids, [4])
    np.testing.assert_array_equal(read.gallery_camids, [0, -1])
    assert read.gallery_pids is None
    with pytest.raises(UserError, match="there is no ranking"):
        read_ranking(tmp_path / "nowhere.npz")
    write_features(tmp_path / "f.npz", feature_set())
    with pytest.raises(UserError, match="lacks query_paths"):
        read_ranking(tmp_path / "f.npz")
