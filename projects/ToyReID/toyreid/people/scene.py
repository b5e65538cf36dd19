"""What is behind a synthetic person: each camera has a place of its own."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .painter import darker

SCENE_SIZE = (480, 640)  # (H, W); larger than a picture, which shows a random part of it
WALLS = ("bricks", "bars", "slats", "tiles", "foliage", "windows", "plain", "panels")


@lru_cache(maxsize=64)
def make_scene(seed: int, camera: int) -> np.ndarray:
    """The place a camera looks at: a wall over a ground, and clutter. (H, W, 3) uint8, RGB.

    The result is shared between callers: do not write into it.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7, camera)))
    height, width = SCENE_SIZE
    scene = np.empty((height, width, 3), np.uint8)
    wall = muted(rng, 70, 190)
    scene[:] = wall
    horizon = int(rng.uniform(0.5, 0.72) * height)
    _wall(scene[:horizon], WALLS[camera % len(WALLS)], wall, rng)
    ground = muted(rng, 80, 170)
    _ground(scene[horizon:], ground, rng)
    for _ in range(int(rng.integers(3, 6))):
        _clutter(scene, horizon, rng)
    coarse = rng.normal(0, 5, (height // 4, width // 4)).astype(np.float32)
    grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    scene = np.clip(scene + grain[..., None], 0, 255).astype(np.uint8)
    scene.setflags(write=False)
    return scene


def random_background(
    scene: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """A random part of the scene, in a random size and sometimes mirrored: (H, W, 3) uint8."""
    height, width = size
    scale = rng.uniform(0.85, 1.2)
    high, wide = int(height * scale), int(width * scale)
    top = int(rng.integers(0, max(1, SCENE_SIZE[0] - high)))
    left = int(rng.integers(0, max(1, SCENE_SIZE[1] - wide)))
    part = cv2.resize(scene[top : top + high, left : left + wide], (width, height))
    return np.ascontiguousarray(part[:, ::-1]) if rng.random() < 0.5 else part


def muted(rng: np.random.Generator, low: float, high: float) -> tuple[int, int, int]:
    """A colour of little saturation."""
    grey, tint = rng.uniform(low, high), rng.uniform(-22, 22, 3)
    red, green, blue = (int(c) for c in np.clip(grey + tint, 0, 255))
    return red, green, blue


def _wall(
    wall: np.ndarray, kind: str, colour: tuple[int, int, int], rng: np.random.Generator
) -> None:
    height, width = wall.shape[:2]
    dark, light = darker(colour, 0.8), darker(colour, 1.12)
    if kind == "bricks":
        for row, y in enumerate(range(0, height, 18)):
            cv2.line(wall, (0, y), (width, y), dark, 2)
            for x in range(-(row % 2) * 20, width, 40):
                cv2.line(wall, (x, y), (x, y + 18), dark, 2)
    elif kind == "bars":
        for x in range(0, width, 22):
            cv2.line(wall, (x, 0), (x, height), dark, 5)
        cv2.line(wall, (0, height // 2), (width, height // 2), dark, 6)
    elif kind == "slats":
        for y in range(0, height, 14):
            cv2.line(wall, (0, y), (width, y), dark, 5)
    elif kind in ("tiles", "panels"):
        step = 44 if kind == "tiles" else 110
        for x in range(0, width, step):
            for y in range(0, height, step):
                shade = darker(colour, float(rng.uniform(0.75, 1.1)))
                cv2.rectangle(wall, (x, y), (x + step - 3, y + step - 3), shade, -1)
    elif kind == "windows":
        for x in range(20, width, 120):
            for y in range(20, height, 110):
                glass = (70, 90, 110) if rng.random() < 0.6 else (180, 190, 180)
                cv2.rectangle(wall, (x, y), (x + 70, y + 76), light, -1)
                cv2.rectangle(wall, (x + 5, y + 5), (x + 65, y + 71), glass, -1)
    elif kind == "foliage":
        for _ in range(260):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            green = tuple(rng.integers((40, 80, 40), (90, 140, 80)).tolist())
            cv2.circle(wall, centre, int(rng.integers(8, 30)), green, -1)


def _ground(ground: np.ndarray, colour: tuple[int, int, int], rng: np.random.Generator) -> None:
    height, width = ground.shape[:2]
    ground[:] = colour
    step = int(rng.integers(30, 90))
    for i, y in enumerate(range(0, height, step // 2)):
        cv2.line(ground, (0, y), (width, y), darker(colour, 0.85), 2)
        for x in range(-300 - 10 * i, width, step):
            cv2.line(ground, (x, y), (x - step // 5, y + step // 2), darker(colour, 0.9), 2)
    if rng.random() < 0.4:  # a painted line
        y = int(rng.integers(height // 3, height))
        cv2.line(ground, (0, y), (width, y + 12), (222, 220, 210), 14)


def _clutter(scene: np.ndarray, horizon: int, rng: np.random.Generator) -> None:
    """A pole, a bin or a sign."""
    x = int(rng.integers(20, scene.shape[1] - 60))
    colour = tuple(int(c) for c in rng.integers(30, 220, 3))
    kind = int(rng.integers(3))
    if kind == 0:
        cv2.line(scene, (x, 0), (x, horizon + 40), colour, 10)
    elif kind == 1:
        cv2.rectangle(scene, (x, horizon - 50), (x + 44, horizon + 30), colour, -1)
        cv2.rectangle(scene, (x - 3, horizon - 56), (x + 47, horizon - 46), darker(colour), -1)
    else:
        y = int(rng.integers(20, horizon - 80))
        cv2.rectangle(scene, (x, y), (x + 60, y + 40), colour, -1)
        cv2.line(scene, (x + 8, y + 20), (x + 52, y + 20), (235, 235, 230), 8)
