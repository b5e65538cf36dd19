"""Things between the camera and a synthetic person, which hide a part of the body."""

from __future__ import annotations

import cv2
import numpy as np

from .body import random_pose
from .figure import draw_person
from .identity import random_person
from .painter import darker
from .scene import muted

OCCLUDERS = ("pillar", "bush", "bicycle", "bystander", "box")


def add_occluder(
    picture: np.ndarray,
    unit: float,
    ground: float,
    rng: np.random.Generator,
    kinds: tuple[str, ...] = OCCLUDERS,
) -> str:
    """Draw something in front of the person, in place, and return its kind.

    Args:
        picture: (H, W, 3) uint8 RGB.
        unit: pixels that a person of average height measures.
        ground: row (pixels) on which the thing stands.
        kinds: what to choose from.
    """
    kind = str(rng.choice(kinds))
    height, width = picture.shape[:2]
    left = rng.random() < 0.5
    if kind == "pillar":
        reach = int(rng.uniform(0.22, 0.45) * width)
        x0, x1 = (0, reach) if left else (width - reach, width)
        colour = muted(rng, 60, 200)
        cv2.rectangle(picture, (x0, 0), (x1, height), colour, -1)
        cv2.rectangle(picture, (x0, 0), ((x0 + x1) // 2, height), darker(colour, 0.88), -1)
    elif kind == "box":
        top = int(ground - rng.uniform(0.25, 0.48) * unit)
        colour = muted(rng, 50, 210)
        cv2.rectangle(picture, (0, top), (width, height), colour, -1)
        for x in range(0, width, 24):
            cv2.line(picture, (x, top), (x, height), darker(colour), 2)
    elif kind == "bush":
        x = int(rng.uniform(0.2, 0.8) * width)
        _bush(picture, x, rng.uniform(0.3, 0.5) * unit, ground, rng)
    elif kind == "bicycle":
        _bicycle(picture, rng.uniform(0.2, 0.8) * width, ground, 0.17 * unit, rng)
    else:
        foot = (rng.uniform(-0.02, 0.16) * width, ground + 0.05 * unit)
        foot = foot if left else (width - foot[0], foot[1])
        place, view = ((height, width), foot, unit * 1.06), int(rng.integers(3))
        other, mask = draw_person(random_person(rng), view, random_pose(rng), *place)
        cv2.copyTo(other, mask, picture)
    return kind


def _bush(picture: np.ndarray, x: int, top: float, ground: float, rng: np.random.Generator) -> None:
    for _ in range(70):
        up = float(rng.beta(1.0, 1.4)) * top
        spread = 0.33 * picture.shape[1]
        centre = (int(x + rng.normal(0, spread * (1.1 - 0.6 * up / top))), int(ground + 10 - up))
        green = tuple(rng.integers((35, 75, 35), (80, 130, 75)).tolist())
        cv2.circle(picture, centre, int(rng.integers(7, 16)), green, -1)


def _bicycle(
    picture: np.ndarray, x: float, ground: float, radius: float, rng: np.random.Generator
) -> None:
    """A bicycle from the side; its points are in wheel radii from the ground at ``x``."""
    colour = tuple(int(c) for c in rng.integers(30, 220, 3))

    def at(right: float, up: float) -> tuple[int, int]:
        return round(x + right * radius), round(ground - up * radius)

    for hub in (-1.25, 1.25):
        cv2.circle(picture, at(hub, 1.0), int(radius), (28, 28, 30), 7)
        for angle in np.arange(0, np.pi, np.pi / 4):
            right, up = 0.9 * np.cos(angle), 0.9 * np.sin(angle)
            ends = at(hub - right, 1 - up), at(hub + right, 1 + up)
            cv2.line(picture, *ends, (120, 120, 120), 1)
    rear, crank, saddle, bar = (-1.25, 1.0), (-0.1, 0.9), (-0.55, 2.2), (0.9, 2.4)
    tubes = [(rear, crank), (crank, saddle), (crank, bar), (saddle, bar), (rear, saddle)]
    for start, end in (*tubes, ((1.25, 1.0), (0.9, 2.6))):
        cv2.line(picture, at(*start), at(*end), colour, 8)
    cv2.line(picture, at(0.55, 2.62), at(1.02, 2.62), (30, 30, 30), 8)
    cv2.ellipse(picture, at(-0.55, 2.3), (20, 8), 0, 0, 360, (30, 30, 30), -1)
