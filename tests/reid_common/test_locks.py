"""One process at a time, also while holders come and go."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from reid_common import locks as file_locks
from reid_common.errors import UserError

fcntl = pytest.importorskip("fcntl")
TAKES = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"

HOLDS = """
import os, sys, time
from pathlib import Path
from reid_common.locks import only_holder

with only_holder(Path(sys.argv[1]), "no"):
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    time.sleep(600)
"""


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
    path, flock, calls = tmp_path / "lock", fcntl.flock, []
    opened = open_files()

    def ends_before(file, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            path.unlink()
            if another:
                path.touch()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", ends_before)
    with file_locks.only_holder(path, "no"):
        assert path.exists() and taken(path)
        assert calls == [fcntl.LOCK_EX | fcntl.LOCK_NB] * 2
        assert open_files() == opened + 1, "that of the first call is closed"
    assert open_files() == opened


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_both_errors_of_a_lock_that_is_held(tmp_path, monkeypatch, number) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    with (
        pytest.raises(UserError, match="another one"),
        file_locks.only_holder(tmp_path / "lock", "another one"),
    ):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    with file_locks.only_holder(tmp_path / "lock", "no"):
        pass


def refusing(number: int):
    def flock(file, how: int) -> None:
        raise OSError(number, "refused")

    return flock


def test_a_killed_holder_frees_the_lock_though_its_workers_live(tmp_path) -> None:
    """A forked process has the holder's files open; it must not keep the lock."""
    path = tmp_path / "lock"
    line = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        try:
            with pytest.raises(UserError, match="held"), file_locks.only_holder(path, "held"):
                pass
            holder.kill()
            holder.wait()
            os.kill(worker, 0)  # it is there
            with file_locks.only_holder(path, "held"):
                pass
        finally:
            os.kill(worker, signal.SIGKILL)
