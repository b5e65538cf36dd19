"""What is wrong with part of a pool: bodies cut off, few pixels, nobody in the picture."""

from __future__ import annotations

import cv2
import numpy as np

from ..people import Camera
from ..people.camera import IMAGE_SIZE, OVERSAMPLING, develop
from ..people.occluder import add_occluder
from ..people.painter import darker
from ..people.scene import make_scene, muted, random_background

THINGS = ("pillar", "bush", "bicycle", "box")  # occluders but the bystander
# (top, bottom, left, right) of what a bad detection keeps: shares, each with its spread.
CUTS = {
    "head": (0.0, 0.26, 0.1, 0.9),
    "legs": (0.58, 1.0, 0.0, 1.0),
    "trunk": (0.28, 0.58, 0.1, 0.9),
    "left": (0.0, 1.0, 0.0, 0.42),
    "right": (0.0, 1.0, 0.58, 1.0),
}


def cropped(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part of a body, as bad detections give: (H, W, 3) -> (h, w, 3) uint8, RGB."""
    height, width = picture.shape[:2]
    shares = CUTS[str(rng.choice(list(CUTS)))] + rng.uniform(-0.05, 0.05, 4)
    edges = np.clip(shares, 0, 1) * (height, height, width, width)
    top, bottom, left, right = edges.astype(int)
    return np.ascontiguousarray(picture[top:bottom, left:right])


def low_resolution(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A person far away: few pixels, stored as they are or blown up; (h, w, 3) uint8, RGB."""
    high = int(rng.integers(14, 30))
    wide = max(8, high // 2)
    small = cv2.resize(picture, (wide, high), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        return small
    kind = cv2.INTER_LINEAR if rng.random() < 0.6 else cv2.INTER_NEAREST
    return cv2.resize(small, IMAGE_SIZE[::-1], interpolation=kind)


FAULTS = {"cropped": cropped, "low_resolution": low_resolution}


def no_person(camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """A false detection: an empty place, a car, a board, or next to nothing; (H, W, 3) uint8."""
    height, width = (n * OVERSAMPLING for n in IMAGE_SIZE)
    picture = random_background(make_scene(camera.seed, camera.index), (height, width), rng)
    kind = str(rng.choice(("place", "thing", "car", "board", "blank"), p=(0.2, 0.3, 0.2, 0.2, 0.1)))
    if kind == "thing":
        add_occluder(picture, height * camera.zoom, 0.95 * height, rng, kinds=THINGS)
    elif kind == "car":
        _car(picture, rng)
    elif kind == "board":
        _board(picture, rng)
    elif kind == "blank":
        slope = np.linspace(0, rng.uniform(-60, 60), height)[:, None, None]
        blank = np.array(muted(rng, 30, 220)) + slope
        picture = np.broadcast_to(np.clip(blank, 0, 255), picture.shape).astype(np.uint8)
    return develop(picture, camera, rng)


def _car(picture: np.ndarray, rng: np.random.Generator) -> None:
    """The side of a car, larger than the picture is wide; in place."""
    height, width = picture.shape[:2]
    colour = tuple(int(c) for c in rng.integers(20, 235, 3))
    middle, ground = int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.75, 0.92) * height)
    half, high = int(rng.uniform(0.7, 1.3) * width), int(0.16 * height)
    sill = ground - high // 4
    cv2.rectangle(picture, (middle - half, ground - high), (middle + half, sill), colour, -1)
    roof = np.array([(-0.6, 1.0), (-0.38, 1.8), (0.35, 1.8), (0.7, 1.0)])
    for points, paint in (
        (roof, darker(colour, 0.9)),
        (roof * (0.86, 0.88) + (0, 0.15), (60, 74, 88)),
    ):
        pixels = (middle, ground) + points * (half, -high)
        cv2.fillPoly(picture, [pixels.astype(np.int32)], paint)
    cv2.line(picture, (middle, ground - 2 * high), (middle, sill), darker(colour), 4)
    for x in (-0.58, 0.58):
        centre = (int(middle + x * half), sill)
        cv2.circle(picture, centre, int(0.42 * high), (24, 24, 26), -1)
        cv2.circle(picture, centre, int(0.2 * high), (150, 150, 150), -1)


def _board(picture: np.ndarray, rng: np.random.Generator) -> None:
    """A poster with letters over much of the picture; in place."""
    height, width = picture.shape[:2]
    ground = tuple(int(c) for c in rng.integers(30, 240, 3))
    ink = tuple(255 - c for c in ground)
    left, right = sorted(int(x) for x in rng.uniform((-0.1, 0.7), (0.25, 1.1)) * width)
    top, bottom = sorted(int(y) for y in rng.uniform((0.0, 0.6), (0.3, 1.0)) * height)
    cv2.rectangle(picture, (left, top), (right, bottom), ground, -1)
    cv2.rectangle(picture, (left, top), (right, bottom), ink, 4)
    for y in range(top + 50, bottom - 8, int(rng.integers(45, 80))):
        letters = "".join(chr(int(c)) for c in rng.integers(65, 91, int(rng.integers(2, 6))))
        size, font = rng.uniform(1, 1.8), cv2.FONT_HERSHEY_DUPLEX
        cv2.putText(picture, letters, (left + 12, y), font, size, ink, 4)
