"""Patterns of the clothes and the emblems on them."""

from __future__ import annotations

import numpy as np

from .identity import CLOTH, Person
from .painter import Paint, Painter, Point


def garment_paint(painter: Painter, person: Person) -> Paint:
    """The upper garment's paint: a plain colour, or a picture-sized texture for a pattern.

    A texture's corner pixel holds the garment's main colour, from which outlines are derived.
    """
    first, second = CLOTH[person.top_colour], CLOTH[person.top_colour2]
    if person.pattern == "plain":
        return first
    height, width = painter.mask.shape
    x = (np.arange(width) - painter.foot[0]) / painter.unit
    y = (painter.foot[1] - np.arange(height)) / painter.unit
    rows, columns = np.zeros((height, 1), bool), np.zeros((1, width), bool)
    if person.pattern in ("hoops", "checks"):
        rows = (np.mod(y, 0.066) < 0.028)[:, None]
    if person.pattern in ("stripes", "checks"):
        columns = (np.mod(x + 0.012, 0.05) < 0.022)[None]
    if person.pattern == "block":  # shoulders in the second colour
        rows = (y > 0.72)[:, None]
    second_here = (rows ^ columns) if person.pattern == "checks" else (rows | columns)
    texture = np.array((first, second), np.uint8)[second_here.astype(np.uint8)]
    texture[0, 0] = first
    return texture


def emblem(painter: Painter, kind: tuple[str, str], centre: Point, size: float) -> None:
    """Paint an emblem; ``size`` is its half width in body units."""
    shape, colour = kind[0], CLOTH[kind[1]]
    (x, y), s = centre, size
    if shape == "disc":
        painter.ellipse(centre, (s * 0.9, s * 0.9), colour, outline=False)
    elif shape == "ring":
        ring = [(x + s * np.cos(a), y + s * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 20)]
        painter.line(ring, s * 0.45, colour)
    elif shape == "bar":
        _box(painter, centre, s * 1.25, s * 0.36, colour)
    elif shape == "square":
        _box(painter, centre, s * 0.8, s * 0.8, colour)
    elif shape == "triangle":
        painter.symmetric([(s, y - s * 0.8), (0, y + s)], colour, outline=False, middle=x)
    else:
        _box(painter, centre, s, s * 0.28, colour)
        _box(painter, centre, s * 0.28, s, colour)


def _box(painter: Painter, centre: Point, width: float, height: float, colour: Paint) -> None:
    """A rectangle of half this width and height on each side of its centre."""
    x, y = centre
    half = [(width, y - height), (width, y + height)]
    painter.symmetric(half, colour, outline=False, middle=x)
