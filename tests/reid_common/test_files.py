"""Files and JSON: complete or not there, whoever else writes the same."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest
from reid_common.errors import UserError
from reid_common.files import read_json, replacing, write_json, write_json_once


def test_a_failed_write_leaves_the_older_file(tmp_path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert read_json(path) == {"a": 1}
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]
    with pytest.raises(UserError, match=r"cannot write .*a\.json.*No space left"), replacing(path):
        raise OSError(28, "No space left on device")


def test_what_is_no_json_is_named(tmp_path) -> None:
    (tmp_path / "a.json").write_text("{")
    for name in ("a.json", "nowhere.json"):
        with pytest.raises(UserError, match=rf"{name}' cannot be read"):
            read_json(tmp_path / name)


def _write(path: Path, number: int, barrier) -> None:
    barrier.wait()
    write_json_once(path, {"number": number})


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_of_several_processes_one_writes(tmp_path, monkeypatch, links) -> None:
    if not links:
        monkeypatch.delattr(os, "link")
        monkeypatch.setattr(os, "link", _no_links, raising=False)
    context, path = multiprocessing.get_context("fork"), tmp_path / "a.json"
    barrier = context.Barrier(4)
    processes = [context.Process(target=_write, args=(path, n, barrier)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    first = json.loads(path.read_text())
    write_json_once(path, {"number": "another"})
    assert read_json(path) == first
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def _no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")
