"""The body: its measures for an identity, viewpoint and pose; legs and arms.

Lengths are in body heights (see ``painter``). Left and right are the picture's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .identity import CLOTH, SKIN, Person
from .painter import Painter, Point, darker
from .patterns import garment_paint

FRONT, SIDE, BACK = 0, 1, 2
VIEWS = ("front", "side", "back")

HEAD_Y, CHIN_Y, SHOULDER_Y = 0.925, 0.865, 0.82
WAIST_Y, HIP_Y, KNEE_Y, ANKLE_Y = 0.58, 0.5, 0.27, 0.04
UPPER_ARM, FOREARM = 0.165, 0.15


@dataclass(frozen=True)
class Pose:
    """A moment of walking; angles in radians."""

    phase: float = 0.6  # of the stride
    stride: float = 0.4  # amplitude of the legs' swing
    swing: float = 0.4  # amplitude of the arms' swing
    bend: float = 0.25  # of the elbows
    facing_left: bool = False  # which way a person seen from the side walks


def random_pose(rng: np.random.Generator) -> Pose:
    """Any moment of a slow or fast walk; some people stand."""
    walking = rng.random() < 0.8
    return Pose(
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.25, 0.55)) if walking else 0.06,
        swing=float(rng.uniform(0.1, 0.6)) if walking else 0.1,
        bend=float(rng.choice((0.15, 0.35, 0.9), p=(0.5, 0.35, 0.15))),
        facing_left=bool(rng.random() < 0.5),
    )


class Body:
    """What the parts of one drawing share: painter, person, view, pose, and half widths."""

    def __init__(self, painter: Painter, person: Person, view: int, pose: Pose) -> None:
        self.painter, self.person, self.view, self.pose = painter, person, view, pose
        # A body is less deep than wide.
        self.shoulder = 0.118 * person.width * (0.68 if view == SIDE else 1.0)
        self.waist = 0.092 * person.width * (0.82 if view == SIDE else 1.0)
        self.hip = 0.102 * person.width * (0.82 if view == SIDE else 1.0)
        self.girth = 0.55 + 0.45 * person.width  # limbs thicken less than the trunk
        self.skin = SKIN[person.skin]
        self.texture = garment_paint(painter, person)
        self.bottom = CLOTH[person.bottom_colour]


def leg_joints(body: Body, side: int) -> tuple[Point, Point, Point]:
    """Hip, knee and ankle of one leg."""
    swing = side * np.sin(body.pose.phase) * body.pose.stride
    lifted = max(0.0, side * np.cos(body.pose.phase)) * body.pose.stride
    thigh, shin = HIP_Y - KNEE_Y, KNEE_Y - ANKLE_Y
    if body.view == SIDE:
        hip = (0.0, HIP_Y)
        knee = (thigh * np.sin(swing), HIP_Y - thigh * np.cos(swing))
        angle = swing - 1.1 * lifted
        return hip, knee, (knee[0] + shin * np.sin(angle), knee[1] - shin * np.cos(angle))
    hip = (side * body.hip * 0.5, HIP_Y)
    knee = (side * body.hip * 0.52, KNEE_Y + 0.05 * lifted)
    # Seen along the walk, the leg that is behind looks shorter.
    behind = max(0.0, -swing if body.view == FRONT else swing)
    return hip, knee, (side * body.hip * 0.46, ANKLE_Y + 0.09 * behind + 0.06 * lifted)


def draw_leg(body: Body, side: int) -> None:
    """One leg with its shoe; ``side`` is -1 or 1, from the side view -1 is the far one."""
    hip, knee, ankle = leg_joints(body, side)
    thick, calf, thin = 0.105 * body.girth, 0.075 * body.girth, 0.052 * body.girth
    light = 0.85 if body.view == SIDE and side < 0 else 1.0
    skin, cloth = darker(body.skin, light), darker(body.bottom, light)
    kind = "none" if body.person.top == "dress" else body.person.bottom
    if kind == "trousers":
        shin = (knee, ankle, calf * 1.08, thin * 1.35, cloth)
        body.painter.limb(shin, (hip, knee, thick, calf * 1.12, cloth))
    else:
        shin = (knee, ankle, calf, thin, skin)
        body.painter.limb(shin, (hip, knee, thick * 0.9, calf, skin))
    if kind == "shorts":
        hem = (hip[0] + 0.72 * (knee[0] - hip[0]), hip[1] + 0.72 * (knee[1] - hip[1]))
        body.painter.limb((hip, hem, thick, thick * 1.05, cloth))
    _draw_shoe(body, ankle, darker(CLOTH[body.person.shoes], light))


def _draw_shoe(body: Body, ankle: Point, colour: tuple[int, int, int]) -> None:
    x, y = ankle
    if body.view == SIDE:
        shape = [(-0.036, 0.012), (0.03, 0.012), (0.095, -0.005), (0.1, -0.038), (-0.04, -0.038)]
        body.painter.polygon([(x + dx, y + dy) for dx, dy in shape], colour)
    else:
        length = 0.034 if body.view == FRONT else 0.026  # toes or heel
        body.painter.ellipse((x, y - 0.014), (0.04 * body.girth, length), colour)
    if body.view != FRONT:
        left, right = (0.04, 0.1) if body.view == SIDE else (0.03, 0.03)
        sole = [(x - left, y - 0.036), (x + right, y - 0.036)]
        body.painter.line(sole, 0.01, (210, 210, 205))


def draw_arm(body: Body, side: int) -> None:
    """One arm with its sleeve and hand."""
    swing = -side * np.sin(body.pose.phase) * body.pose.swing
    if body.view == SIDE:
        start = (0.0, SHOULDER_Y - 0.025)
        upper, lower = swing, swing + body.pose.bend
    else:
        start = (side * body.shoulder * 0.93, SHOULDER_Y - 0.025)
        upper = side * (0.13 + 0.12 * abs(swing))
        lower = upper - side * 0.25 * body.pose.bend
    fore = 1.0 if body.view == SIDE else np.cos(swing) * np.cos(0.6 * body.pose.bend)
    elbow = (start[0] + UPPER_ARM * np.sin(upper), start[1] - UPPER_ARM * np.cos(upper))
    reach = FOREARM * fore
    wrist = (elbow[0] + reach * np.sin(lower), elbow[1] - reach * np.cos(lower))
    thick, thin = 0.066 * body.girth, 0.046 * body.girth
    body.painter.ellipse(wrist, (0.026, 0.028), body.skin)
    short = body.person.top in ("tshirt", "dress")
    paint = body.skin if short else body.texture
    forearm = (elbow, wrist, thick * 0.82, thin, paint)
    body.painter.limb(forearm, (start, elbow, thick, thick * 0.85, paint))
    if short:
        half = ((start[0] + elbow[0]) / 2, (start[1] + elbow[1]) / 2)
        body.painter.limb((start, half, thick * 1.12, thick * 1.15, body.texture))
