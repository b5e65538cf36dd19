"""Render ToyReID onto the disk, once; `meta.json` in its folder tells what it was made from."""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from .camera import take_picture
from .once import META, make_once, read_meta, work_through
from .plan import SPLITS, Plan, Shot, ToySpec, plan_shots

logger = logging.getLogger(__name__)

FOLDER = "ToyReID"
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
    if not is_complete(folder, spec):
        make_once(
            folder,
            lambda place: is_complete(place, spec),
            lambda place: read_meta(place) is not None,
            lambda part: _render(part, plan_shots(spec or ToySpec()), workers),
        )
    return folder


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

    work_through(work, plan.shots, workers, FOLDER)
    meta = {
        "synthetic": True,
        "note": "Drawn by toyreid.people; no photographs, no real persons.",
        "generator_version": GENERATOR_VERSION,
        "spec": plan.spec.as_dict(),
        "images": {split: counts[split] for split in SPLITS},
    }
    (part / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
