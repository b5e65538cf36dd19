"""Draw a synthetic person: an identity's description, a viewpoint and a pose become a picture."""

from __future__ import annotations

import cv2
import numpy as np

from . import body as limbs
from . import clothes, head
from .body import FRONT, SIDE, Body, Pose
from .identity import Person
from .painter import Painter, Point


def draw_person(
    person: Person, view: int, pose: Pose, size: tuple[int, int], foot: Point, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the figure alone, without surroundings, light or camera.

    Args:
        person: who.
        view: 0 front, 1 side, 2 back.
        pose: the moment of walking.
        size: (height, width) of the picture in pixels.
        foot: pixel (x, y) of the ground between the feet.
        unit: pixels that a person of average height measures.

    Returns:
        The picture (H, W, 3) uint8 RGB and its mask (H, W) uint8, 255 inside the figure.
    """
    mirrored = view == SIDE and pose.facing_left
    if mirrored:
        foot = (size[1] - 1 - foot[0], foot[1])
    painter = Painter(size, foot, unit * person.height)
    body = Body(painter, person, view, pose)
    if view == SIDE:
        _draw_side(body)
    elif view == FRONT:
        _draw_front(body)
    else:
        _draw_back(body)
    picture, mask = _rounded(painter), painter.mask
    if mirrored:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(picture), np.ascontiguousarray(mask)


# Each of the three paints from the far parts to the near ones.


def _draw_front(body: Body) -> None:
    head.draw_hair_behind(body)
    _draw_legs(body)
    clothes.draw_lower(body)
    clothes.draw_trunk(body)
    clothes.draw_front_details(body)
    clothes.draw_straps(body)
    limbs.draw_arm(body, -1)
    limbs.draw_arm(body, 1)
    clothes.draw_shoulder_bag(body)
    head.draw_head(body)


def _draw_side(body: Body) -> None:
    limbs.draw_leg(body, -1)
    limbs.draw_arm(body, -1)
    clothes.draw_backpack_aside(body)
    limbs.draw_leg(body, 1)
    clothes.draw_lower(body)
    clothes.draw_trunk(body)
    clothes.draw_shoulder_bag(body)
    head.draw_head(body)
    limbs.draw_arm(body, 1)


def _draw_back(body: Body) -> None:
    _draw_legs(body)
    clothes.draw_lower(body)
    clothes.draw_trunk(body)
    clothes.draw_back_details(body)
    limbs.draw_arm(body, -1)
    limbs.draw_arm(body, 1)
    clothes.draw_shoulder_bag(body)
    head.draw_head(body)
    clothes.draw_backpack(body)


def _draw_legs(body: Body) -> None:
    """Both legs, the one that is behind first."""
    for side in (1, -1) if np.sin(body.pose.phase) > 0 else (-1, 1):
        limbs.draw_leg(body, side)


def _rounded(painter: Painter) -> np.ndarray:
    """Darken towards the silhouette, as on a round body."""
    distance = cv2.distanceTransform(painter.mask, cv2.DIST_L2, 3)
    shade = 0.74 + 0.26 * np.minimum(distance / (0.035 * painter.unit), 1.0)
    return (painter.picture * shade[..., None]).astype(np.uint8)
