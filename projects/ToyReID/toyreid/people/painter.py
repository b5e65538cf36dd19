"""A small painter: shapes in a colour or a texture, and a mask of what has been painted."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

Point = tuple[float, float]
Paint = tuple[int, int, int] | np.ndarray  # RGB 0..255, or a texture (H, W, 3) uint8

Stroke = tuple[Point, Point, float, float, Paint]  # start, end, diameters there, paint


class Painter:
    """Paints on a picture in body units.

    The caller's coordinates are in body heights: (0, 0) is the ground between the feet, x goes to
    the right and y up; a person of average height ends at y = 1. Edges are hard here: pictures are
    drawn several times too large and shrunk afterwards, which smooths them.

    Args:
        size: (height, width) of the picture in pixels.
        foot: where (0, 0) lies, in pixels (x, y).
        unit: pixels per body height.
    """

    def __init__(self, size: tuple[int, int], foot: Point, unit: float) -> None:
        self.picture = np.zeros((*size, 3), np.uint8)
        self.mask = np.zeros(size, np.uint8)
        self.foot = foot
        self.unit = unit

    def pixels(self, points: Sequence[Point] | np.ndarray) -> np.ndarray:
        """Body units -> integer pixels, (N, 2) int32."""
        array = np.asarray(points, np.float64) * (self.unit, -self.unit) + self.foot
        return np.round(array).astype(np.int32)

    def polygon(self, points: Sequence[Point], paint: Paint, outline: bool = True) -> None:
        """Fill a polygon."""
        self._fill(self.pixels(points), paint, outline)

    def symmetric(
        self, half: Sequence[Point], paint: Paint, outline: bool = True, middle: float = 0.0
    ) -> None:
        """Fill a polygon of these points, right of the line x = ``middle``, and their mirrored."""
        left = [(middle - x, y) for x, y in reversed(half)]
        self.polygon([*((middle + x, y) for x, y in half), *left], paint, outline)

    def limb(self, *parts: Stroke) -> None:
        """Tapered strokes with round ends, under one outline: no seam where they meet."""
        outlines = [self.pixels(_stroke(part)) for part in parts]
        thickness = 2 * max(1, round(self.unit / 300)) + 1
        for pixels, part in zip(outlines, parts, strict=True):
            cv2.polylines(self.mask, [pixels], True, 255, thickness)
            cv2.polylines(self.picture, [pixels], True, _edge(part[4]), thickness)
        for pixels, part in zip(outlines, parts, strict=True):
            self._fill(pixels, part[4], outline=False)

    def ellipse(
        self,
        centre: Point,
        radii: Point,
        paint: Paint,
        start: float = 0.0,
        end: float = 360.0,
        outline: bool = True,
    ) -> None:
        """Fill an ellipse, or its segment between two angles (degrees, anticlockwise from east)."""
        angles = np.deg2rad(np.linspace(start, end, 24))
        x, y = centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)
        self._fill(self.pixels(np.stack([x, y], axis=1)), paint, outline)

    def line(self, points: Sequence[Point], width: float, colour: tuple[int, int, int]) -> None:
        """A polyline; ``width`` in body units."""
        thickness = max(1, round(width * self.unit))
        pixels = [self.pixels(points)]
        cv2.polylines(self.picture, pixels, False, colour, thickness)
        cv2.polylines(self.mask, pixels, False, 255, thickness)

    def _fill(self, pixels: np.ndarray, paint: Paint, outline: bool) -> None:
        cv2.fillPoly(self.mask, [pixels], 255)
        if isinstance(paint, tuple):
            cv2.fillPoly(self.picture, [pixels], paint)
        else:
            part = np.zeros_like(self.mask)
            cv2.fillPoly(part, [pixels], 255)
            cv2.copyTo(paint, part, self.picture)
        if outline:
            thickness = max(1, round(self.unit / 300))
            cv2.polylines(self.picture, [pixels], True, _edge(paint), thickness)


def darker(colour: tuple[int, ...], factor: float = 0.72) -> tuple[int, int, int]:
    """The colour in the shade."""
    red, green, blue = (int(c * factor) for c in colour)
    return red, green, blue


def _edge(paint: Paint) -> tuple[int, int, int]:
    """The colour of an outline; a texture's corner pixel tells its main colour."""
    return darker(paint if isinstance(paint, tuple) else tuple(int(c) for c in paint[0, 0]))


def _stroke(part: Stroke) -> np.ndarray:
    """The outline of a tapered stroke, (N, 2)."""
    start, end, width0, width1, _ = part
    angle = np.arctan2(end[1] - start[1], end[0] - start[0])
    angles = angle + np.linspace(np.pi / 2, 3 * np.pi / 2, 7)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([start + width0 / 2 * circle, end - width1 / 2 * circle])
