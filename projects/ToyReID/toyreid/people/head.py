"""Head, hair and hat."""

from __future__ import annotations

from .body import FRONT, HEAD_Y, SIDE, Body
from .identity import CLOTH, HAIR
from .painter import darker


def draw_hair_behind(body: Body) -> None:
    """Long hair behind the shoulders, seen from the front."""
    if body.person.hairstyle == "long":
        colour = darker(HAIR[body.person.hair], 0.9)
        body.painter.ellipse((0, HEAD_Y - 0.045), (0.075, 0.105), colour)


def draw_head(body: Body) -> None:
    """Head, hair and hat."""
    painter, person, hair = body.painter, body.person, HAIR[body.person.hair]
    bald, long = person.hairstyle == "bald", person.hairstyle == "long"
    painter.ellipse((0, HEAD_Y), (0.058 if body.view == SIDE else 0.056, 0.072), body.skin)
    if body.view == SIDE:
        nose = [(0.052, HEAD_Y + 0.01), (0.07, HEAD_Y - 0.015), (0.05, HEAD_Y - 0.02)]
        painter.polygon(nose, body.skin)
        if not bald:
            painter.ellipse((-0.012, HEAD_Y + 0.02), (0.054, 0.062), hair, 20, 260)
        if long:
            fall = [(-0.06, HEAD_Y + 0.03), (0.0, HEAD_Y + 0.02), (-0.012, 0.79), (-0.08, 0.78)]
            painter.polygon(fall, hair)
    elif body.view == FRONT:
        if not bald:
            painter.ellipse((0, HEAD_Y + 0.022), (0.06, 0.058), hair, 8, 172)
        if long:
            for side in (-1, 1):
                strand = (side * 0.056, HEAD_Y + 0.02), (side * 0.063, 0.82)
                painter.limb((*strand, 0.026, 0.034, hair))
        _draw_face(body)
    elif not bald:
        painter.ellipse((0, HEAD_Y + 0.008), (0.061, 0.071), hair)
        if long:
            painter.symmetric([(0.061, HEAD_Y), (0.075, 0.77)], hair)
    if person.hairstyle == "bun" and person.hat is None:
        centre = (-0.055, HEAD_Y + 0.05) if body.view == SIDE else (0.0, HEAD_Y + 0.082)
        painter.ellipse(centre, (0.034, 0.03), hair)
    _draw_hat(body)


def _draw_face(body: Body) -> None:
    dark = darker(body.skin, 0.5)
    for side in (-1, 1):
        body.painter.ellipse((side * 0.022, HEAD_Y), (0.007, 0.006), (40, 34, 34), outline=False)
    body.painter.line([(-0.016, HEAD_Y - 0.036), (0.016, HEAD_Y - 0.036)], 0.007, dark)


def _draw_hat(body: Body) -> None:
    if body.person.hat is None:
        return
    colour = CLOTH[body.person.hat]
    body.painter.ellipse((0, HEAD_Y + 0.028), (0.066, 0.058), colour, 0, 180)
    if body.view == SIDE:
        peak = [(0.03, 0.955), (0.115, 0.945), (0.115, 0.935), (0.03, 0.938)]
        body.painter.polygon(peak, darker(colour))
    elif body.view == FRONT:
        body.painter.ellipse((0, HEAD_Y + 0.026), (0.062, 0.014), darker(colour))
