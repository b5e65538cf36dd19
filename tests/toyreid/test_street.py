"""The drawn street: the same for the same seed, boxes on the figures, people who come back."""

from __future__ import annotations

import numpy as np
from toyreid.people.street import KIOSK, Street


def test_a_frame_is_the_same_again_and_has_its_boxes() -> None:
    first, again = (Street(people=6, seed=3).frame(60) for _ in range(2))
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert first.picture.shape == (480, 640, 3) and len(first.boxes) == len(first.ids) >= 2
    widths, heights = (first.boxes[:, 2:] - first.boxes[:, :2]).T
    assert (widths > 5).all() and (heights > 90).all() and (heights < 240).all()
    assert not np.array_equal(first.picture, Street(people=6, seed=4).frame(60).picture)


def test_people_are_hidden_by_the_kiosk_and_come_back() -> None:
    """A lone walker is seen, not seen behind the kiosk, seen again, and again after the pause."""
    street = Street(people=1, seed=1)
    walker = street.walkers[0]
    there = int((640 + 120) / abs(walker.speed))
    centre, frames = sum(KIOSK) / 2, range(max(0, walker.start), walker.start + there)
    hidden = min(frames, key=lambda n: abs(street._place(0, n)[0] - centre))  # type: ignore[index]
    seen = [len(street.frame(n).ids) for n in (hidden - 30, hidden, hidden + 30)]
    assert seen == [1, 0, 1]
    assert len(street.frame(walker.start + there + walker.pause // 2).ids) == 0
    assert street.frame(walker.start + there + walker.pause + there // 4).ids.tolist() == [0]


def test_a_detector_misses_some_and_is_a_little_off() -> None:
    street, boxes = Street(people=1), np.tile(np.float32([100, 100, 160, 250]), (400, 1))
    found, scores = street.detections(5, boxes)
    assert 340 < len(found) == len(scores) < 395
    assert 0.5 < np.abs(found - boxes[0]).mean() < 6
    assert (scores >= 0.7).all() and (scores <= 1).all()
    np.testing.assert_array_equal(found, street.detections(5, boxes)[0])
