"""Make a folder of rendered pictures once: completely or not at all, whoever else does the same.

The pictures go to a folder beside the target, which is renamed at the end; so a folder of the right
name is complete, even after a crash. ``meta.json`` in it says what it was made with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from reid_common.progress import shown

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

META = "meta.json"
JPEG_QUALITY = 88


def read_meta(folder: Path) -> dict | None:
    """What ``meta.json`` says; None where there is none that can be read."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) and meta.get("synthetic") else None


def current_meta(folder: Path, version: int, spec: Any) -> dict | None:
    """What ``meta.json`` says, if it is of this generator's version, and of ``spec`` if any."""
    meta = read_meta(folder)
    if meta is None or meta.get("generator_version") != version:
        return None
    return meta if spec is None or meta.get("spec") == dataclasses.asdict(spec) else None


def write_meta(folder: Path, package: str, version: int, spec: Any, **more: Any) -> None:
    """Write ``meta.json``."""
    meta = {
        "synthetic": True,
        "note": f"Drawn by {package}; no photographs, no real persons.",
        "generator_version": version,
        "spec": dataclasses.asdict(spec),
        **more,
    }
    (folder / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def warn_of_other_spec(folder: Path, standard: Any) -> None:
    """Log a warning where a rendering is not of the ``standard`` sizes and seed."""
    spec = (read_meta(folder) or {}).get("spec")
    if spec != dataclasses.asdict(standard):
        logger.warning(
            "%s: %s is not the standard data set but %s; metrics on it do not compare. Delete the "
            "folder to have the standard one rendered.",
            folder.name,
            folder,
            spec,
        )


def jpeg(picture: np.ndarray) -> bytes:
    """An (H, W, 3) uint8 RGB picture as a file; of one quality, so that sizes tell no kinds."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def make_once(
    folder: Path, is_complete: Callable[[Path], bool], make: Callable[[Path], None]
) -> Path:
    """Make a folder where it is not complete, and return it.

    Several processes may call this at once: one makes it, the others wait for it. A folder of that
    name that is no rendering is moved aside, with a warning.

    Args:
        folder: the target; its parent is created if missing.
        is_complete: whether a folder is what ``make`` would make.
        make: writes everything into the folder that it is given, which does not exist yet.
    """
    if is_complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder) as is_alone:
        if is_complete(folder):  # somebody else was faster
            return folder
        if is_alone:
            for left_over in folder.parent.glob(f".{folder.name}.*.part"):
                shutil.rmtree(left_over, ignore_errors=True)
        part = folder.with_name(f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
        try:
            make(part)
            if folder.exists() and not is_complete(folder):
                _move_aside(folder)
            part.rename(folder)
        except OSError:
            # Without locks another process may have renamed first: its files are the same.
            if not is_complete(folder):
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _move_aside(folder: Path) -> None:
    """Remove an outdated rendering; give anything else another name."""
    name, mark = folder.name, uuid.uuid4().hex[:8]
    if read_meta(folder) is None:
        aside = folder.with_name(f"{name}.old-{mark}")
        logger.warning("%s: %s is not a rendering of ours; moved to %s", name, folder, aside)
    else:
        aside = folder.with_name(f".{name}.{mark}.part")
        logger.info("%s: %s is of another version, seed or size: replaced", name, folder)
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        folder.rename(aside)
    if aside.name.endswith(".part"):
        shutil.rmtree(aside, ignore_errors=True)


def work_through(
    work: Callable[[Item], None], items: Sequence[Item], workers: int | None, what: str
) -> None:
    """Do ``work`` for all items in threads (None: one for each CPU, 8 at most).

    Threads, not processes: OpenCV and Pillow release the lock, and nothing has to be forked or
    pickled, so it also works inside a worker process.
    """
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for _ in shown(pool.map(work, items), what, len(items)):
            pass


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Hold a lock for ``folder`` where the file system has locks; yields whether it is held."""
    lock = FileLock(folder.with_name(f".{folder.name}.lock"), fallback_to_soft=False)
    with contextlib.suppress(OSError):  # of a file system without locks
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("%s: another process is rendering it; waiting for that", folder)
            lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()
