"""A drawn street, frame by frame: people walk past, behind a kiosk and one another, and come back.

For tracking: each frame comes with the boxes and identities of who is in view, and with what a
detector would have made of it: boxes that are a little off, some missing.

Letters: N persons in view, H, W pixels of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .body import Pose
from .figure import draw_person
from .identity import Person, make_people
from .scene import SCENE_SIZE, make_scene

SIDE = 1  # view of figure.draw_person
VISIBLE = 0.35  # share of a figure from which on it counts as seen
MARGIN = 60  # pixels beside the frame where a walker begins and ends
KIOSK = (270, 372)  # columns that it hides
MISSED, JITTER = 0.06, 0.02  # share of boxes that are not found; deviation, share of a box's height


@dataclass(frozen=True)
class Walker:
    """Who walks where: there and, after a pause, back."""

    person: Person
    start: int  # frame of the first step
    speed: float  # pixels a frame
    foot: float  # row of the ground, pixels
    unit: float  # pixels that an average person measures
    pause: int  # frames out of sight before the way back
    stride: float


@dataclass(frozen=True)
class Sight:
    """One frame."""

    picture: np.ndarray  # (H, W, 3) uint8, RGB
    boxes: np.ndarray  # (N, 4) float32, x1 y1 x2 y2 in pixels: whole figures, cut at the border
    ids: np.ndarray  # (N,) int64, 0-based


class Street:
    """A street with people, the same for the same arguments.

    Args:
        people: how many.
        seed: of persons, ways and place.
        camera: which of the drawn places.
    """

    def __init__(self, people: int = 10, seed: int = 0, camera: int = 4) -> None:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(11,)))
        self.seed = seed
        self.scene = make_scene(seed, camera)
        self.walkers = [self._walker(person, rng) for person in make_people(people, seed, 0.0)]

    def _walker(self, person: Person, rng: np.random.Generator) -> Walker:
        depth = float(rng.uniform(0, 1))  # 0 far, 1 near
        return Walker(
            person,
            start=int(rng.integers(-40, 90)),
            speed=float(rng.uniform(3.5, 6.5) * rng.choice((-1, 1))),
            foot=330 + 130 * depth,
            unit=130 + 80 * depth,
            pause=int(rng.integers(15, 60)),
            stride=float(rng.uniform(0.3, 0.5)),
        )

    def frame(self, number: int) -> Sight:
        """Draw a frame; numbers count from 0."""
        picture, owners = self.scene.copy(), np.full(SCENE_SIZE, -1)
        places, areas = {}, {}
        for index in sorted(range(len(self.walkers)), key=lambda i: self.walkers[i].foot):
            place = self._place(index, number)
            if place is not None:
                areas[index], places[index] = self._paint(picture, owners, index, number, *place)
        self._kiosk(picture, owners)
        seen = [i for i, area in areas.items() if area and (owners == i).sum() >= VISIBLE * area]
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(12, number)))
        noisy = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
        boxes = np.array([places[i] for i in seen], np.float32).reshape(-1, 4)
        return Sight(noisy, boxes, np.array(seen, np.int64))

    def detections(self, number: int, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a detector makes of the boxes (N, 4) of a frame: boxes (n, 4) and scores (n,)."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(13, number)))
        heights = (boxes[:, 3:] - boxes[:, 1:2]) * JITTER
        moved = boxes + rng.normal(size=boxes.shape) * heights
        limits = (SCENE_SIZE[1], SCENE_SIZE[0]) * 2
        found = rng.random(len(boxes)) >= MISSED
        scores = rng.uniform(0.75, 0.98, len(boxes))
        return np.clip(moved, 0, limits)[found].astype(np.float32), scores[found].astype(np.float32)

    def _place(self, index: int, number: int) -> tuple[float, bool] | None:
        """Column of the feet, and whether the walk is to the left; None out of sight."""
        walker, length = self.walkers[index], SCENE_SIZE[1] + 2 * MARGIN
        steps, there = number - walker.start, int(length / abs(walker.speed))
        back = steps >= there + walker.pause
        steps -= (there + walker.pause) * back
        if not 0 <= steps < there:
            return None
        left = (walker.speed < 0) != back
        gone = steps * abs(walker.speed) - MARGIN
        return (SCENE_SIZE[1] - gone if left else gone), left

    def _paint(
        self,
        picture: np.ndarray,
        owners: np.ndarray,
        index: int,
        number: int,
        column: float,
        left: bool,
    ) -> tuple[int, tuple[float, ...]]:
        """Draw a walker; returns the pixels of the figure within the frame, and its box."""
        walker = self.walkers[index]
        pose = Pose(0.35 * number, walker.stride, swing=0.35, bend=0.3, facing_left=left)
        size = int(1.25 * walker.unit), int(0.9 * walker.unit)
        foot = size[1] / 2, size[0] - 0.06 * walker.unit
        figure, mask = draw_person(walker.person, SIDE, pose, size, foot, walker.unit)
        x, y = round(column - foot[0]), round(walker.foot - foot[1])
        rows = slice(max(0, y), min(SCENE_SIZE[0], y + size[0]))
        columns = slice(max(0, x), min(SCENE_SIZE[1], x + size[1]))
        if columns.stop <= columns.start:
            return 0, (0.0,) * 4
        inside = slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)
        part = mask[inside] > 0
        picture[rows, columns][part] = figure[inside][part]
        owners[rows, columns][part] = index
        if not part.any():
            return 0, (0.0,) * 4
        ys, xs = np.nonzero(part)
        corner = columns.start, rows.start
        box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        whole = int((mask > 0).sum())  # so that half a figure at the border counts as half
        return whole, tuple(float(b + corner[i % 2]) for i, b in enumerate(box))

    def _kiosk(self, picture: np.ndarray, owners: np.ndarray) -> None:
        """A kiosk in front of everybody."""
        left, right = KIOSK
        cv2.rectangle(picture, (left, 120), (right, SCENE_SIZE[0]), (92, 104, 96), -1)
        cv2.rectangle(picture, (left - 8, 104), (right + 8, 124), (60, 70, 66), -1)
        cv2.rectangle(picture, (left + 12, 150), (right - 12, 240), (172, 178, 170), -1)
        owners[120:, left : right + 1] = -1
