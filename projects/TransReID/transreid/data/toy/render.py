"""Render ToyReID onto the disk: completely or not at all, whoever else does the same.

The pictures go to a folder beside the target, which is renamed at the end; so a folder of the right
name is complete, even after a crash. ``meta.json`` in it tells what it was rendered from.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from .camera import take_picture
from .plan import SPLITS, Plan, Shot, ToySpec, plan_shots

logger = logging.getLogger(__name__)

FOLDER = "ToyReID"
META = "meta.json"
GENERATOR_VERSION = 2  # raise it with every change of the pictures: old renderings are replaced
JPEG_QUALITY = 88


def render_toyreid(
    root: str | Path, spec: ToySpec | None = None, workers: int | None = None
) -> Path:
    """Make sure that ``root/ToyReID`` holds the data set, and return that folder.

    Several processes may call this at once: one renders, the others wait for it.

    Args:
        root: folder of the data sets; created if missing.
        spec: sizes and seed. None takes a complete rendering of any size and seed that is there
            already, and otherwise renders the default.
        workers: threads. None: one for each CPU, 8 at most.
    """
    folder = Path(root) / FOLDER
    if is_complete(folder, spec):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent) as alone:
        if is_complete(folder, spec):  # somebody else was faster
            return folder
        if alone:
            for left_over in folder.parent.glob(f".{FOLDER}.*.part"):
                shutil.rmtree(left_over, ignore_errors=True)
        _render_and_rename(folder, spec or ToySpec(), workers)
    return folder


def read_meta(folder: Path) -> dict | None:
    """What ``meta.json`` says; None where there is none that can be read."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) and meta.get("synthetic") else None


def is_complete(folder: Path, spec: ToySpec | None = None) -> bool:
    """Whether the folder holds every picture of this generator's data set (and of this spec)."""
    meta = read_meta(folder)
    if meta is None or meta.get("generator_version") != GENERATOR_VERSION:
        return False
    if spec is not None and meta.get("spec") != spec.as_dict():
        return False
    there = {split: len(list((folder / split).glob("*.jpg"))) for split in SPLITS}
    return there == meta.get("images")


def shot_rng(spec: ToySpec, shot: Shot) -> np.random.Generator:
    """The shot's own random numbers: the order of rendering does not matter."""
    key = (3, shot.pid, shot.camera, shot.number)
    return np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=key))


def render_shot(plan: Plan, shot: Shot) -> bytes:
    """The shot as a JPEG file."""
    person = plan.people.get(shot.pid)
    rng = shot_rng(plan.spec, shot)
    picture = take_picture(person, shot.view, plan.cameras[shot.camera], rng)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _render_and_rename(folder: Path, spec: ToySpec, workers: int | None) -> None:
    part = folder.parent / f".{FOLDER}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
    try:
        _render(part, plan_shots(spec), workers)
        _put_in_place(part, folder, spec)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _render(part: Path, plan: Plan, workers: int | None) -> None:
    """All pictures and meta.json into ``part``."""
    for split in SPLITS:
        (part / split).mkdir(parents=True)
    counts = Counter(shot.split for shot in plan.shots)
    logger.info(
        "ToyReID: rendering %d SYNTHETIC images of %d drawn identities into %s, once",
        len(plan.shots),
        len(plan.people),
        part.parent / FOLDER,
    )

    def work(shot: Shot) -> None:
        (part / shot.split / shot.name).write_bytes(render_shot(plan, shot))

    start = reported = time.monotonic()
    # Threads, not processes: OpenCV and Pillow release the lock, and nothing has to be forked or
    # pickled, so it also works inside a worker process.
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for done, _ in enumerate(pool.map(work, plan.shots), start=1):
            now = time.monotonic()
            if now - reported > 5:
                left = (now - start) / done * (len(plan.shots) - done)
                logger.info("ToyReID: %d of %d, %.0f s left", done, len(plan.shots), left)
                reported = now
    meta = {
        "synthetic": True,
        "note": "Drawn by transreid.data.toy; no photographs, no real persons.",
        "generator_version": GENERATOR_VERSION,
        "spec": plan.spec.as_dict(),
        "images": {split: counts[split] for split in SPLITS},
    }
    (part / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    logger.info("ToyReID: rendered in %.0f s", time.monotonic() - start)


def _put_in_place(part: Path, folder: Path, spec: ToySpec) -> None:
    """Rename ``part`` to ``folder``; what was there before is replaced, or kept if not ours."""
    if folder.exists():
        if is_complete(folder, spec):
            return
        ours = read_meta(folder) is not None
        aside = folder.with_name(f".{FOLDER}.{uuid.uuid4().hex[:8]}.part")
        if not ours:
            aside = folder.with_name(f"{FOLDER}.old-{uuid.uuid4().hex[:8]}")
            logger.warning("ToyReID: %s is not a rendering of ours; moved to %s", folder, aside)
        else:
            logger.info("ToyReID: %s is of another version, seed or size: replaced", folder)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            folder.rename(aside)
        if ours:
            shutil.rmtree(aside, ignore_errors=True)
    try:
        part.rename(folder)
    except OSError:
        # Without locks (see _alone) another process may have renamed first: its files are the same.
        if not is_complete(folder, spec):
            raise


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[bool]:
    """Hold a lock on ``root`` where the system has file locks; yields whether it is held.

    The lock goes with the process, so a killed one leaves none behind.
    """
    try:
        import fcntl
    except ImportError:  # Windows: both render, one rename wins
        yield False
        return
    with open(root / f".{FOLDER}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("ToyReID: another process is rendering in %s; waiting for it", root)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            yield False
            return
        yield True
