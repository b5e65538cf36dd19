"""Clothes on the trunk and bags: much of it is seen from one side only."""

from __future__ import annotations

import numpy as np

from .body import BACK, CHIN_Y, FRONT, HIP_Y, SHOULDER_Y, SIDE, WAIST_Y, Body
from .identity import CLOTH
from .painter import Paint, darker
from .patterns import emblem


def draw_lower(body: Body) -> None:
    """What covers the hips, and a skirt where there is one."""
    dress = body.person.top == "dress"
    if body.person.bottom == "skirt" and not dress:
        _draw_flare(body, WAIST_Y - 0.03, 0.33, body.hip * 1.3, body.bottom)
    else:
        half = [(body.waist, WAIST_Y), (body.hip, HIP_Y), (body.hip * 0.8, HIP_Y - 0.05)]
        body.painter.symmetric(half, body.texture if dress else body.bottom, outline=False)
    if dress:
        _draw_flare(body, WAIST_Y, 0.31, body.hip * 1.35, body.texture)


def _draw_flare(body: Body, top: float, hem: float, width: float, paint: Paint) -> None:
    sway = 0.012 * np.sin(body.pose.phase)
    points = [(-body.waist, top), (body.waist, top), (body.hip * 1.05, HIP_Y)]
    points += [(width + sway, hem), (-width + sway, hem), (-body.hip * 1.05, HIP_Y)]
    body.painter.polygon(points, paint)


def draw_trunk(body: Body) -> None:
    """Neck and upper garment."""
    s, w = body.shoulder, body.waist
    body.painter.limb(((0, SHOULDER_Y), (0, CHIN_Y + 0.01), 0.06, 0.055, body.skin))
    low, hem = {"coat": (body.hip * 1.18, 0.36), "dress": (w, WAIST_Y)}.get(
        body.person.top, (body.hip * 1.06, HIP_Y)
    )
    half = [(min(0.045, s * 0.6), SHOULDER_Y + 0.028), (s * 0.92, SHOULDER_Y + 0.005)]
    half += [(s, SHOULDER_Y - 0.04), (w, WAIST_Y), (low, hem)]
    body.painter.symmetric(half, body.texture)


def draw_front_details(body: Body) -> None:
    """What only the front shows: collar, open jacket, logo, a backpack's straps."""
    person = body.person
    if person.top in ("jacket", "coat"):
        width, hem = 0.045 * person.width, HIP_Y if person.top == "jacket" else 0.42
        half = [(width, SHOULDER_Y + 0.02), (width * 0.55, hem)]
        body.painter.symmetric(half, CLOTH[person.top_colour2])
    else:
        body.painter.ellipse((0, SHOULDER_Y + 0.027), (0.043, 0.032), body.skin, 180, 360)
    if person.logo:
        emblem(body.painter, person.logo, (0.0, 0.715), 0.052 * person.width)
    if person.backpack:
        for side in (-1, 1):
            x = side * body.shoulder * 0.62
            strap = [(x, SHOULDER_Y + 0.02), (x * 1.12, 0.64)]
            body.painter.line(strap, 0.024, CLOTH[person.backpack])


def draw_back_details(body: Body) -> None:
    """What only the back shows: the print."""
    if body.person.print_:
        emblem(body.painter, body.person.print_, (0.0, 0.7), 0.066 * body.person.width)


def draw_backpack(body: Body) -> None:
    """A backpack, seen from the back or the side."""
    if body.person.backpack is None:
        return
    colour = CLOTH[body.person.backpack]
    if body.view == SIDE:
        x = -body.shoulder * 0.7
        shape = [(x, 0.82), (x - 0.07, 0.79), (x - 0.105, 0.66), (x - 0.09, 0.575), (x, 0.57)]
        body.painter.polygon(shape, colour)
        return
    w = 0.092 * body.person.width
    body.painter.symmetric([(w, 0.57), (w * 1.02, 0.815 - 0.05), (w * 0.7, 0.815)], colour)
    pocket = [(w * 0.7, 0.57 + 0.02), (w * 0.7, 0.68)]
    body.painter.symmetric(pocket, darker(colour, 0.85))


def draw_shoulder_bag(body: Body) -> None:
    """A bag at the hip and its strap across the chest."""
    if body.person.shoulder_bag is None:
        return
    colour = CLOTH[body.person.shoulder_bag]
    # It hangs at the person's left hip: on the picture's right from the front, left from behind.
    side = {FRONT: 1, SIDE: 0, BACK: -1}[body.view]
    x = side * (body.hip + 0.03)
    across = (-side * body.shoulder * 0.5, SHOULDER_Y + 0.02)
    body.painter.line([across, (x, 0.52)], 0.016, darker(colour))
    half = 0.045 if side else 0.065
    body.painter.symmetric([(half, 0.53), (half * 1.1, 0.42)], colour, middle=x)
    body.painter.line([(x - half, 0.49), (x + half, 0.49)], 0.008, darker(colour))
