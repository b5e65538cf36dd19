"""Keep a second process out, where the system has file locks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import UserError

try:
    import fcntl
except ImportError:  # no system of POSIX
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def only_holder(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock while the block runs; it ends with the process, however that ends.

    Args:
        path: file of the lock, in a folder that is there; it is removed at the end.
        refusal: message where another process holds it.

    Raises:
        UserError: another process holds it.
    """
    if fcntl is None:
        yield
        return
    with _locked(path, refusal):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path, refusal: str) -> IO[str]:
    """Open the file and lock it: the one that bears the name then.

    A holder that ends removes it. Who has opened it just before would lock a file without a name,
    beside which a third process makes and locks a new one.
    """
    while True:
        file = open(path, "w")  # noqa: SIM115  (the caller closes it)
        try:
            # A lock of POSIX: it ends with this process, whatever its children still hold open.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES, as systems like
            file.close()
            raise UserError(refusal) from error
        except OSError:
            return file  # a file system without locks
        if _bears(path, file):
            return file
        file.close()


def _bears(path: Path, file: IO[str]) -> bool:
    """Whether the name still is that of the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
