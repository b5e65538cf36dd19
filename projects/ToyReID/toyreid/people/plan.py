"""Which synthetic pictures make up the data set: who is seen where, from which side, how often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .camera import Camera, make_cameras
from .identity import Person, make_people

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
SPLITS = (TRAIN, QUERY, GALLERY)


@dataclass(frozen=True)
class ToySpec:
    """Sizes of the data set and its seed; the same spec gives the same files.

    Raises:
        ValueError: for fewer than 2 identities a split or fewer than 2 cameras.
    """

    num_train_ids: int = 140
    num_test_ids: int = 60
    num_cameras: int = 8
    num_distractors: int = 80
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_train_ids", "num_test_ids", "num_cameras"):
            value = getattr(self, name)
            if value < 2:
                raise ValueError(f"ToyReID: {name} must be at least 2, got {value}")


@dataclass(frozen=True)
class Shot:
    """One picture to take."""

    split: str
    pid: int  # identity, 1-based; 0 for a distractor (a false detection), as in Market-1501
    camera: int  # 0-based
    view: int  # 0 front, 1 side, 2 back
    number: int  # unique in the data set

    @property
    def name(self) -> str:
        """File name; the camera is 1-based in it."""
        return f"{self.pid:04d}_c{self.camera + 1}s1_v{self.view}_{self.number:06d}.jpg"


@dataclass(frozen=True)
class Plan:
    """Everything that the pictures are rendered from."""

    spec: ToySpec
    people: dict[int, Person]  # by pid
    cameras: list[Camera]
    shots: list[Shot]


def plan_shots(spec: ToySpec) -> Plan:
    """Decide on all pictures; identities 1..num_train_ids are for training, the next for tests."""
    entropy = np.random.SeedSequence(spec.seed, spawn_key=(2,))
    rng = np.random.default_rng(entropy)
    train_seed, test_seed = (int(s) for s in entropy.generate_state(2))
    faces = make_people(spec.num_train_ids, train_seed) + make_people(spec.num_test_ids, test_seed)
    people = dict(enumerate(faces, start=1))
    cameras = make_cameras(spec.num_cameras, spec.seed)
    shots: list[Shot] = []

    def shoot(split: str, pid: int, camera: int, count: int) -> None:
        for _ in range(count):
            view = int(rng.choice(3, p=cameras[camera].views))
            shots.append(Shot(split, pid, camera, view, len(shots) + 1))

    for pid in people:
        least = max(2, round(0.6 * spec.num_cameras))
        order = rng.permutation(spec.num_cameras)
        seen_by = order[: int(rng.integers(least, spec.num_cameras + 1))]
        for place, camera in enumerate(seen_by):
            if pid <= spec.num_train_ids:
                shoot(TRAIN, pid, int(camera), int(rng.integers(2, 4)))
                continue
            # A query under some of the cameras, gallery pictures under all: whatever camera the
            # query is from, another one has a match.
            shoot(GALLERY, pid, int(camera), int(rng.integers(2, 5)))
            if place < max(2, round(0.7 * len(seen_by))):
                shoot(QUERY, pid, int(camera), 1)
    for _ in range(spec.num_distractors):
        shoot(GALLERY, 0, int(rng.integers(spec.num_cameras)), 1)
    return Plan(spec, people, cameras, shots)
