"""The synthetic pedestrians behind ToyReID: who they are, how they are drawn and photographed.

Pure functions of a description and an explicit random generator; no FastReID in here. Read in this
order: ``identity`` (who), ``figure`` and ``body`` (how a person is drawn), ``scene`` and
``occluder`` (what is around), ``camera`` (how a picture is taken), ``plan`` (which pictures),
``render`` (onto the disk).
"""

from .body import Pose, random_pose
from .camera import Camera, make_cameras, take_picture
from .figure import draw_person
from .identity import Person, make_people
from .plan import ToySpec, plan_shots
from .render import render_toyreid

__all__ = [
    "Camera",
    "Person",
    "Pose",
    "ToySpec",
    "draw_person",
    "make_cameras",
    "make_people",
    "plan_shots",
    "random_pose",
    "render_toyreid",
    "take_picture",
]
