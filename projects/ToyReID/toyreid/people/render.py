"""Render ToyReID onto the disk, once; `meta.json` in its folder tells what it was made from."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np

from .camera import take_picture
from .once import current_meta, jpeg, make_once, work_through, write_meta
from .plan import SPLITS, Plan, Shot, ToySpec, plan_shots

logger = logging.getLogger(__name__)

FOLDER = "ToyReID"
GENERATOR_VERSION = 2  # raise it with every change of the pictures: old renderings are replaced


def render_toyreid(
    root: str | Path, spec: ToySpec | None = None, workers: int | None = None
) -> Path:
    """Make sure that ``root/ToyReID`` holds the data set, and return that folder.

    Args:
        root: folder of the data sets; created if missing.
        spec: sizes and seed. None takes a complete rendering of any size and seed that is there
            already, and otherwise renders the default.
        workers: threads. None: one for each CPU, 8 at most.
    """
    return make_once(
        Path(root) / FOLDER,
        lambda place: is_complete(place, spec),
        lambda part: _render(part, plan_shots(spec or ToySpec()), workers),
    )


def is_complete(folder: Path, spec: ToySpec | None = None) -> bool:
    """Whether the folder holds every picture of this generator's data set (and of this spec)."""
    meta = current_meta(folder, GENERATOR_VERSION, spec)
    there = {split: len(list((folder / split).glob("*.jpg"))) for split in SPLITS}
    return meta is not None and there == meta.get("images")


def render_shot(plan: Plan, shot: Shot) -> bytes:
    """The shot as a JPEG file; it has its own random numbers, whatever the order of rendering."""
    key = (3, shot.pid, shot.camera, shot.number)
    rng = np.random.default_rng(np.random.SeedSequence(plan.spec.seed, spawn_key=key))
    person = plan.people.get(shot.pid)
    return jpeg(take_picture(person, shot.view, plan.cameras[shot.camera], rng))


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
    images = {split: counts[split] for split in SPLITS}
    write_meta(part, "toyreid.people", GENERATOR_VERSION, plan.spec, images=images)
