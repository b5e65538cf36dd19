"""Make a folder of rendered pictures once: completely or not at all, whoever else does the same.

The pictures go to a folder beside the target, which is renamed at the end; so a folder of the right
name is complete, even after a crash.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


META = "meta.json"  # says of a rendering what it was made with


def read_meta(folder: Path) -> dict | None:
    """What ``meta.json`` says; None where there is none that can be read."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) and meta.get("synthetic") else None


def make_once(
    folder: Path,
    is_complete: Callable[[Path], bool],
    is_ours: Callable[[Path], bool],
    make: Callable[[Path], None],
) -> None:
    """Make a folder where it is not complete; several processes may call this at once.

    Args:
        folder: the target; its parent is created if missing.
        is_complete: whether a folder is what ``make`` would make.
        is_ours: whether a folder may be replaced; any other is moved aside, with a warning.
        make: writes everything into the folder that it is given, which does not exist yet.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder) as is_alone:
        if is_complete(folder):  # somebody else was faster
            return
        if is_alone:
            for left_over in folder.parent.glob(f".{folder.name}.*.part"):
                shutil.rmtree(left_over, ignore_errors=True)
        part = folder.with_name(f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
        try:
            make(part)
            _put_in_place(part, folder, is_complete, is_ours)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def work_through(
    work: Callable[[Item], None], items: Sequence[Item], workers: int | None, what: str
) -> None:
    """Do ``work`` for all items in threads, and log how far it is every few seconds.

    Threads, not processes: OpenCV and Pillow release the lock, and nothing has to be forked or
    pickled, so it also works inside a worker process.

    Args:
        work: of one item.
        items: all of them.
        workers: threads. None: one for each CPU, 8 at most.
        what: name in the log.
    """
    start = reported = time.monotonic()
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for done, _ in enumerate(pool.map(work, items), start=1):
            now = time.monotonic()
            if now - reported > 5:
                left = (now - start) / done * (len(items) - done)
                logger.info("%s: %d of %d, %.0f s left", what, done, len(items), left)
                reported = now
    logger.info("%s: rendered in %.0f s", what, time.monotonic() - start)


def _put_in_place(
    part: Path,
    folder: Path,
    is_complete: Callable[[Path], bool],
    is_ours: Callable[[Path], bool],
) -> None:
    """Rename ``part`` to ``folder``; what was there before is replaced, or kept if not ours."""
    name = folder.name
    if folder.exists():
        if is_complete(folder):
            return
        ours = is_ours(folder)
        aside = folder.with_name(f".{name}.{uuid.uuid4().hex[:8]}.part")
        if not ours:
            aside = folder.with_name(f"{name}.old-{uuid.uuid4().hex[:8]}")
            logger.warning("%s: %s is not a rendering of ours; moved to %s", name, folder, aside)
        else:
            logger.info("%s: %s is of another version, seed or size: replaced", name, folder)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            folder.rename(aside)
        if ours:
            shutil.rmtree(aside, ignore_errors=True)
    try:
        part.rename(folder)
    except OSError:
        # Without locks (see alone) another process may have renamed first: its files are the same.
        if not is_complete(folder):
            raise


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Hold a lock for ``folder`` where the system has file locks; yields whether it is held.

    The lock goes with the process, so a killed one leaves none behind.
    """
    try:
        import fcntl
    except ImportError:  # Windows: both render, one rename wins
        yield False
        return
    with open(folder.with_name(f".{folder.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("%s: another process is rendering it; waiting for that", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            yield False
            return
        yield True
