"""Render the pool onto the disk, once: ``images/000000.jpg ...``, ``truth.csv``, ``meta.json``.

``truth.csv`` (name, kind, in_domain 0 or 1) is for measurements only: no code that trains reads it.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path

import numpy as np
from PIL import Image

from ..people import take_picture
from ..people.once import META, make_once, read_meta, work_through
from .faults import cropped, low_resolution, no_person
from .plan import Picture, PoolPlan, PoolSpec, plan_pool
from .strangers import other_domain

logger = logging.getLogger(__name__)

FOLDER, IMAGES, TRUTH = "ToyUnlabeled", "images", "truth.csv"
GENERATOR_VERSION = 1  # raise it with every change of the pictures: old renderings are replaced


def render_pool(root: str | Path, spec: PoolSpec | None = None, workers: int | None = None) -> Path:
    """Make sure that ``root/ToyUnlabeled`` holds the pool, and return that folder.

    Several processes may call this at once: one renders, the others wait for it.

    Args:
        root: folder of the data sets; created if missing.
        spec: size and seed. None takes a complete rendering of any size and seed that is there
            already, and otherwise renders the default.
        workers: threads. None: one for each CPU, 8 at most.
    """
    folder = Path(root) / FOLDER
    if not is_complete(folder, spec):
        make_once(
            folder,
            lambda place: is_complete(place, spec),
            lambda place: read_meta(place) is not None,
            lambda part: _render(part, plan_pool(spec or PoolSpec()), workers),
        )
    return folder


def is_complete(folder: Path, spec: PoolSpec | None = None) -> bool:
    """Whether the folder holds every picture of this generator's pool (and of this spec)."""
    meta = read_meta(folder)
    if meta is None or meta.get("generator_version") != GENERATOR_VERSION:
        return False
    if spec is not None and meta.get("spec") != spec.as_dict():
        return False
    there = len(list((folder / IMAGES).glob("*.jpg")))
    return there == meta["spec"]["num_images"] and (folder / TRUTH).is_file()


def draw(plan: PoolPlan, picture: Picture) -> np.ndarray:
    """One picture: (H, W, 3) uint8, RGB; the size depends on the kind."""
    rng = picture_rng(plan, picture)
    person, camera = plan.people[picture.person], plan.cameras[picture.camera]
    if picture.kind == "cropped":
        return cropped(person, camera, rng)
    if picture.kind == "low_resolution":
        return low_resolution(person, camera, rng)
    if picture.kind == "other_domain":
        return other_domain(person, rng)
    if picture.kind == "no_person":
        return no_person(camera, rng)
    return take_picture(person, int(rng.choice(3, p=camera.views)), camera, rng)


def picture_rng(plan: PoolPlan, picture: Picture) -> np.random.Generator:
    """The picture's own random numbers: the order of rendering does not matter."""
    key = (5, picture.number)
    return np.random.default_rng(np.random.SeedSequence(plan.spec.seed, spawn_key=key))


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _render(part: Path, plan: PoolPlan, workers: int | None) -> None:
    """All pictures, truth and meta.json into ``part``."""
    (part / IMAGES).mkdir(parents=True)
    count = len(plan.pictures)
    logger.info("%s: rendering %d SYNTHETIC images into %s, once", FOLDER, count, part.parent)

    def work(picture: Picture) -> None:
        # The same quality for all kinds: the size of a file is not to tell its kind.
        (part / IMAGES / picture.name).write_bytes(_jpeg(draw(plan, picture), quality=88))

    work_through(work, plan.pictures, workers, FOLDER)
    with open(part / TRUTH, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "kind", "in_domain"))
        writer.writerows((p.name, p.kind, int(p.in_domain)) for p in plan.pictures)
    meta = {
        "synthetic": True,
        "note": "Drawn by toyreid.pool; no photographs, no real persons.",
        "generator_version": GENERATOR_VERSION,
        "spec": plan.spec.as_dict(),
    }
    (part / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
