"""Render the pool onto the disk, once: ``images/000000.jpg ...``, ``truth.csv``, ``meta.json``.

``truth.csv`` (name, kind, in_domain 0 or 1) is for measurements only: no code that trains reads it.
"""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np

from ..people import take_picture
from ..people.once import current_meta, jpeg, make_once, work_through, write_meta
from .faults import FAULTS, no_person
from .plan import PERSON, Picture, PoolPlan, PoolSpec, plan_pool
from .strangers import other_domain

logger = logging.getLogger(__name__)

FOLDER, IMAGES, TRUTH = "ToyUnlabeled", "images", "truth.csv"
GENERATOR_VERSION = 1  # raise it with every change of the pictures: old renderings are replaced


def render_pool(root: str | Path, spec: PoolSpec | None = None, workers: int | None = None) -> Path:
    """Make sure that ``root/ToyUnlabeled`` holds the pool, and return that folder.

    Arguments are those of :func:`~toyreid.people.render.render_toyreid`.
    """
    return make_once(
        Path(root) / FOLDER,
        lambda place: is_complete(place, spec),
        lambda part: _render(part, plan_pool(spec or PoolSpec()), workers),
    )


def is_complete(folder: Path, spec: PoolSpec | None = None) -> bool:
    """Whether the folder holds every picture of this generator's pool (and of this spec)."""
    meta = current_meta(folder, GENERATOR_VERSION, spec)
    there = len(list((folder / IMAGES).glob("*.jpg")))
    whole = meta is not None and there == meta["spec"]["num_images"]
    return whole and (folder / TRUTH).is_file()


def draw(plan: PoolPlan, picture: Picture) -> np.ndarray:
    """One picture: (H, W, 3) uint8, RGB; the size depends on the kind."""
    # Its own random numbers: the order of rendering does not matter.
    seeds = np.random.SeedSequence(plan.spec.seed, spawn_key=(5, picture.number))
    rng = np.random.default_rng(seeds)
    person, camera = plan.people[picture.person], plan.cameras[picture.camera]
    if picture.kind in FAULTS:
        whole = take_picture(person, int(rng.integers(3)), camera, rng)
        return FAULTS[picture.kind](whole, rng)
    if picture.kind == "other_domain":
        return other_domain(person, rng)
    if picture.kind == "no_person":
        return no_person(camera, rng)
    return take_picture(person, int(rng.choice(3, p=camera.views)), camera, rng)


def _render(part: Path, plan: PoolPlan, workers: int | None) -> None:
    """All pictures, truth and meta.json into ``part``."""
    (part / IMAGES).mkdir(parents=True)
    count = len(plan.pictures)
    logger.info("%s: rendering %d SYNTHETIC images into %s, once", FOLDER, count, part.parent)

    def work(picture: Picture) -> None:
        (part / IMAGES / picture.name).write_bytes(jpeg(draw(plan, picture)))

    work_through(work, plan.pictures, workers, FOLDER)
    with open(part / TRUTH, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "kind", "in_domain"))
        writer.writerows((p.name, p.kind, int(p.kind == PERSON)) for p in plan.pictures)
    write_meta(part, "toyreid.pool", GENERATOR_VERSION, plan.spec)
