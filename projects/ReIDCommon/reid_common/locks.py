"""Keep a second process out, where the file system has locks."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import UserError

PATIENCE = 0.5  # seconds: who has just opened the file of a holder that ends must try again
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def only_holder(path: Path, refusal: str | Callable[[], str]) -> Iterator[None]:
    """Hold a lock while the block runs; it ends with the process, however that ends.

    Its file, in a folder that exists, is removed at the end.

    Raises:
        UserError: another process holds it; ``refusal`` is the message or returns it.
    """
    lock = FileLock(path, timeout=PATIENCE, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(refusal if isinstance(refusal, str) else refusal()) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):  # Windows keeps a file that is open
                path.unlink(missing_ok=True)
            lock.release()
