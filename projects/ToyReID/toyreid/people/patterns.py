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
    texture = np.where(
        second_here[..., None], np.array(second, np.uint8), np.array(first, np.uint8)
    )
    texture[0, 0] = first
    return texture


def emblem(painter: Painter, kind: tuple[str, str], centre: Point, size: float) -> None:
    """Paint an emblem; ``size`` is its half width in body units."""
    shape, colour = kind[0], CLOTH[kind[1]]
    x, y = centre
    s = size
    if shape == "disc":
        painter.ellipse(centre, (s * 0.9, s * 0.9), colour, outline=False)
    elif shape == "ring":
        ring = [(x + s * np.cos(a), y + s * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 20)]
        painter.line(ring, s * 0.45, colour)
    elif shape == "bar":
        painter.polygon(_box(x, y, s * 1.25, s * 0.36), colour, outline=False)
    elif shape == "square":
        painter.polygon(_box(x, y, s * 0.8, s * 0.8), colour, outline=False)
    elif shape == "triangle":
        corners = [(x - s, y - s * 0.8), (x + s, y - s * 0.8), (x, y + s)]
        painter.polygon(corners, colour, outline=False)
    else:
        painter.polygon(_box(x, y, s, s * 0.28), colour, outline=False)
        painter.polygon(_box(x, y, s * 0.28, s), colour, outline=False)


def _box(x: float, y: float, half_width: float, half_height: float) -> list[Point]:
    left, right, low, high = x - half_width, x + half_width, y - half_height, y + half_height
    return [(left, low), (right, low), (right, high), (left, high)]
