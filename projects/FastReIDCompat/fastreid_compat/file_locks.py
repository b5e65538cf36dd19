"""Keep a second process out, where the system has file locks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError


@contextlib.contextmanager
def only_holder(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock while the block runs; it ends with the process, however that ends.

    Args:
        path: file of the lock, in a folder that is there; it is removed at the end.
        refusal: message where another process holds it.

    Raises:
        UserError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    # A lock of POSIX: it ends with this process, whatever its children still hold open.
    with open(path, "w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(refusal) from error
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
