"""A second run in an OUTPUT_DIR is refused, with the process that holds it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastreid.utils import comm
from reid_commands import train
from reid_common.errors import UserError
from reid_core.run.output_lock import HOLDER, LOCK, only_run

HOLDS = Path(__file__).with_name("killed_or_held.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def holder(folder: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds the folder."""
    line = [sys.executable, str(HOLDS), str(folder)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_holder_is_named(folder, holder) -> None:
    with pytest.raises(UserError) as error, only_run(str(folder)):
        pass
    message = str(error.value)
    assert f"OUTPUT_DIR: {str(folder)!r} is in use by process {holder.pid}" in message
    assert f"on {platform.node()}, since 20" in message
    assert f"{HOLDS} {folder}`" in message and "set OUTPUT_DIR to another folder" in message
    assert "\n" not in message


@pytest.mark.parametrize("option", [[], ["--resume"], ["--eval-only"]])
def test_train_net_writes_nothing_into_a_folder_in_use(folder, holder, option, capsys) -> None:
    before = sorted(os.listdir(folder))
    line = [*option, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(folder)]
    with pytest.raises(SystemExit) as ended:
        train.main(line)
    assert ended.value.code == 2
    assert f"in use by process {holder.pid}" in capsys.readouterr().err
    assert sorted(os.listdir(folder)) == before == [HOLDER, LOCK]


def test_a_killed_run_frees_the_folder(folder, holder) -> None:
    holder.kill()
    holder.wait()
    assert (folder / HOLDER).exists(), "what it left"
    with only_run(str(folder)):
        assert json.loads((folder / HOLDER).read_text())["pid"] == os.getpid()
    assert os.listdir(folder) == []


def test_a_folder_is_made_and_free_after_a_failure(tmp_path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), only_run(str(tmp_path / "new" / "logs")):
            raise KeyError
    assert os.listdir(tmp_path / "new" / "logs") == []
    with only_run(""):
        pass


def test_other_processes_of_a_run_hear_of_the_refusal(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    monkeypatch.setattr(comm, "all_gather", lambda problem: ["in use", problem])
    with pytest.raises(UserError, match="in use"), only_run(str(tmp_path / "logs")):
        pass
    assert os.listdir(tmp_path) == []


def test_a_folder_that_nobody_may_write_to(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="OUTPUT_DIR: cannot write"), only_run(f"{tmp_path}/file/a"):
        pass
