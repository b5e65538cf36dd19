"""Which synthetic pictures make up the pool, and how many of each kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reid_common.errors import UserError

from ..people import Camera, Person, make_cameras, make_people

PERSON = "person"
# Share of each kind; the first is ToyReID's domain, the others are not.
KINDS = {
    PERSON: 0.50,
    "cropped": 0.14,
    "low_resolution": 0.12,
    "other_domain": 0.14,
    "no_person": 0.10,
}
PICTURES_PER_IDENTITY = 8  # LUPerson: 4.18 million images of some 200,000
CAMERAS_PER_PLACE, NUM_PLACES = 8, 4
CAMERAS_PER_IDENTITY = 4


@dataclass(frozen=True)
class PoolSpec:
    """Size of the pool and its seed; the same spec gives the same files.

    Raises:
        UserError: fewer than two images of each kind.
    """

    num_images: int = 4200
    seed: int = 20211112  # far from the seeds of ToyReID: other persons, other cameras

    def __post_init__(self) -> None:
        if self.num_images < 2 * len(KINDS):
            raise UserError(
                f"ToyUnlabeled: num_images is {self.num_images}; set {2 * len(KINDS)} or more"
            )


@dataclass(frozen=True)
class Picture:
    """One picture to make."""

    number: int  # 0-based; files are in this order, which tells nothing of the kind
    kind: str  # of KINDS
    person: int  # index of the identity; not used for "no_person"
    camera: int  # index of the camera

    @property
    def name(self) -> str:
        """File name."""
        return f"{self.number:06d}.jpg"


@dataclass(frozen=True)
class PoolPlan:
    """Everything that the pictures are rendered from."""

    spec: PoolSpec
    people: list[Person]
    cameras: list[Camera]
    pictures: list[Picture]


def plan_pool(spec: PoolSpec) -> PoolPlan:
    """Decide on all pictures, kinds in random order."""
    entropy = np.random.SeedSequence(spec.seed)
    rng = np.random.default_rng(entropy)
    people_seed, *camera_seeds = (int(s) for s in entropy.generate_state(1 + NUM_PLACES))
    people = make_people(max(2, spec.num_images // PICTURES_PER_IDENTITY), people_seed)
    cameras = [c for seed in camera_seeds for c in make_cameras(CAMERAS_PER_PLACE, seed)]
    # An identity walks past a few cameras of one place.
    places = rng.integers(NUM_PLACES, size=len(people)) * CAMERAS_PER_PLACE
    own = np.stack([rng.permutation(CAMERAS_PER_PLACE)[:CAMERAS_PER_IDENTITY] for _ in people])
    others = [kind for kind in KINDS if kind != PERSON]
    kinds = [kind for kind in others for _ in range(round(KINDS[kind] * spec.num_images))]
    kinds = [PERSON] * (spec.num_images - len(kinds)) + kinds  # which takes what rounding leaves
    rng.shuffle(kinds)
    pictures = []
    for number, kind in enumerate(kinds):
        person = int(rng.integers(len(people)))
        camera = int(places[person] + rng.choice(own[person]))
        pictures.append(Picture(number, kind, person, camera))
    return PoolPlan(spec, people, cameras, pictures)
