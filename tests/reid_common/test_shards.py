"""Shards of a long work: what is finished, and to which settings it belongs."""

from __future__ import annotations

from reid_common.column_files.npz import read_npz
from reid_common.shards import Shards, write_arrays


def test_ranges_and_what_is_missing(tmp_path) -> None:
    shards = Shards(tmp_path / "parts", count=7, size=3)
    ranges = [(0, range(0, 3)), (1, range(3, 6)), (2, range(6, 7))]
    assert list(shards.ranges()) == shards.missing() == ranges
    write_arrays(shards.file(1), {"kept": [1, 2]})
    assert shards.missing() == [ranges[0], ranges[2]]
    assert shards.count_done() == 3
    assert read_npz(shards.file(1), ("kept",))["kept"].tolist() == [1, 2]
    shards.remove()
    assert not shards.folder.exists() and not shards.count_done()


def test_settings_are_those_of_the_run_that_began(tmp_path) -> None:
    shards = Shards(tmp_path / "parts", count=7, size=3)
    names = {"size": "shard size", "config": "config", "new": "new setting"}
    assert shards.begin({"size": 3, "config": {"b": 1, "a": [2]}}, names) == []
    assert shards.begin({"size": 3, "config": {"a": [2], "b": 1}, "new": 1}, names) == []
    assert shards.begin({"size": 4, "config": {}}, names) == ["shard size", "config"]
    assert shards.begin({"size": 4, "other": 1}, {"other": "other"}) == []
