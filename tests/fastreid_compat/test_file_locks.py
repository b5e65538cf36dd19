"""One process at a time, also while holders come and go."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from reid_common import locks as file_locks
from reid_common.errors import UserError

fcntl = pytest.importorskip("fcntl")
TAKES = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def taken(path: Path) -> bool:
    """Whether another process is kept out."""
    line = [sys.executable, "-c", TAKES, str(path)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0 or "BlockingIOError" in done.stderr, done.stderr
    return done.returncode != 0


def test_held_while_the_block_runs(tmp_path) -> None:
    path = tmp_path / "lock"
    with file_locks.only_holder(path, "no"):
        assert taken(path)
    assert not path.exists()


@pytest.mark.parametrize("another", [False, True])
def test_a_holder_that_ends_while_the_next_one_comes(tmp_path, monkeypatch, another) -> None:
    """It removes the file that the next one has opened; a third may have made a new one."""
    path, lockf, calls = tmp_path / "lock", fcntl.lockf, []

    def ends_before(file, how: int) -> None:
        calls.append(file)
        if len(calls) == 1:
            path.unlink()
            if another:
                path.touch()
        lockf(file, how)

    monkeypatch.setattr(fcntl, "lockf", ends_before)
    with file_locks.only_holder(path, "no"):
        assert path.exists() and taken(path)
        assert calls[0].closed and len(calls) == 2


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_both_errors_of_a_lock_that_is_held(tmp_path, monkeypatch, number) -> None:
    monkeypatch.setattr(fcntl, "lockf", refusing(number))
    with (
        pytest.raises(UserError, match="another one"),
        file_locks.only_holder(tmp_path / "lock", "another one"),
    ):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fcntl, "lockf", refusing(errno.ENOLCK))
    with file_locks.only_holder(tmp_path / "lock", "no"):
        pass


def refusing(number: int):
    def lockf(file, how: int) -> None:
        raise OSError(number, "refused")

    return lockf
