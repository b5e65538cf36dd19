"""Draw a synthetic person: an identity's description, a viewpoint and a pose become a picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from .body import BACK, FRONT, SIDE, Body, Pose, draw_arm, draw_leg
from .clothes import (
    draw_back_details,
    draw_backpack,
    draw_front_details,
    draw_lower,
    draw_shoulder_bag,
    draw_trunk,
)
from .head import draw_hair_behind, draw_head
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
    for draw in PARTS[view]:
        draw(body)
    picture, mask = _rounded(painter), painter.mask
    if mirrored:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(picture), np.ascontiguousarray(mask)


def _draw_legs(body: Body) -> None:
    """Both legs, the one that is behind first."""
    for side in (1, -1) if np.sin(body.pose.phase) > 0 else (-1, 1):
        draw_leg(body, side)


FAR_ARM, NEAR_ARM = partial(draw_arm, side=-1), partial(draw_arm, side=1)
FAR_LEG, NEAR_LEG = partial(draw_leg, side=-1), partial(draw_leg, side=1)
TRUNK, ARMS, ABOVE = (draw_lower, draw_trunk), (FAR_ARM, NEAR_ARM), (draw_shoulder_bag, draw_head)
# What each view shows, from the far parts to the near ones.
PARTS: dict[int, tuple[Callable[[Body], None], ...]] = {
    FRONT: (draw_hair_behind, _draw_legs, *TRUNK, draw_front_details, *ARMS, *ABOVE),
    SIDE: (FAR_LEG, FAR_ARM, draw_backpack, NEAR_LEG, *TRUNK, *ABOVE, NEAR_ARM),
    BACK: (_draw_legs, *TRUNK, draw_back_details, *ARMS, *ABOVE, draw_backpack),
}


def _rounded(painter: Painter) -> np.ndarray:
    """Darken towards the silhouette, as on a round body."""
    distance = cv2.distanceTransform(painter.mask, cv2.DIST_L2, 3)
    shade = 0.74 + 0.26 * np.minimum(distance / (0.035 * painter.unit), 1.0)
    return (painter.picture * shade[..., None]).astype(np.uint8)
