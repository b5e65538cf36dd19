"""How a synthetic picture is taken: a camera's place, framing, optics, colours and viewpoints.

A camera distorts colours strongly but reversibly (gains, gamma, contrast): whoever knows the
camera can undo most of it, whoever compares colours across cameras is misled. That is what makes a
camera's identity worth knowing to a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .body import random_pose
from .figure import draw_person
from .identity import Person
from .occluder import add_occluder
from .scene import make_scene, random_background

IMAGE_SIZE = (128, 64)  # (H, W) pixels
OVERSAMPLING = 3  # pictures are drawn this many times larger
OCCLUDED_SHARE = 0.25
# Least and greatest value of what differs between cameras.
SPREADS = {
    "gamma": (0.65, 1.4),
    "contrast": (0.7, 1.2),
    "saturation": (0.6, 1.15),
    "blur": (0.0, 0.9),
    "resolution": (0.5, 1.1),
    "noise": (2, 8),
    "zoom": (0.82, 1.06),
    "shift_x": (-0.1, 0.1),
    "shift_y": (-0.04, 0.04),
}


@dataclass(frozen=True)
class Camera:
    """One camera."""

    index: int  # 0-based
    seed: int  # of the data set; together with the index it determines the place
    gains: tuple[float, ...]  # of red, green and blue
    gamma: float  # exponent on values in 0..1; above 1 darkens
    contrast: float  # around the middle grey
    saturation: float  # 0 grey, 1 as is
    blur: float  # standard deviation in pixels of the final picture
    resolution: float  # share of the final resolution that the sensor has, 0..1
    noise: float  # standard deviation, pixel values 0..255
    zoom: float  # height of an average person, share of the picture's
    shift: tuple[float, float]  # of the box from the person (x, y), shares of width and height
    views: tuple[float, ...]  # probabilities of front, side and back


def make_cameras(num_cameras: int, seed: int) -> list[Camera]:
    """Cameras that differ in everything; each property is spread evenly over the cameras."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))

    def spread(low: float, high: float) -> np.ndarray:
        """One value a camera, evenly spread and shuffled."""
        return low + (high - low) * (rng.permutation(num_cameras) + 0.5) / num_cameras

    hue = 2 * np.pi * (rng.permutation(num_cameras) + 0.5) / num_cameras
    cast = spread(0.10, 0.30)
    spreads = {name: spread(*limits).tolist() for name, limits in SPREADS.items()}
    cameras = []
    for i in range(num_cameras):
        own = {name: values[i] for name, values in spreads.items()}
        own["resolution"] = min(1.0, own["resolution"])
        shift = own.pop("shift_x"), own.pop("shift_y")
        phases = hue[i] + np.array((0.0, 2.0, 4.0)) * np.pi / 3
        gains = tuple(np.exp(cast[i] * np.cos(phases)).tolist())
        # Each camera looks along or across the walk.
        views = tuple(0.7 if view == i % 3 else 0.15 for view in range(3))
        cameras.append(Camera(i, seed, gains, shift=shift, views=views, **own))
    return cameras


def take_picture(
    person: Person | None, view: int, camera: Camera, rng: np.random.Generator
) -> np.ndarray:
    """One picture of a person: (128, 64, 3) uint8, RGB.

    Args:
        person: None gives a false detection: no person, or a part of a passer-by's body.
        view: 0 front, 1 side, 2 back.
    """
    height, width = (n * OVERSAMPLING for n in IMAGE_SIZE)
    scene = make_scene(camera.seed, camera.index)
    picture = random_background(scene, (height, width), rng)
    unit = height * camera.zoom * float(np.exp(rng.normal(0, 0.06)))
    foot_x = width * (0.5 + camera.shift[0] + rng.normal(0, 0.06))
    middle = height * (0.5 + camera.shift[1] + rng.normal(0, 0.03))
    foot_y = middle + unit / 2
    if person is not None:
        place = (height, width), (foot_x, foot_y), unit
        figure, mask = draw_person(person, view, random_pose(rng), *place)
        radii = (int(0.13 * unit), int(0.025 * unit))
        shadow = tuple(int(c * 0.6) for c in picture[-8:, width // 2].mean(axis=0))
        cv2.ellipse(picture, (int(foot_x), int(foot_y)), radii, 0, 0, 360, shadow, -1)
        cv2.copyTo(figure, mask, picture)
    floor = min(foot_y, height - 1.0)
    if person is None and rng.random() < 0.5:  # the part of a passer-by that the box caught
        add_occluder(picture, unit, floor, rng, kinds=("bystander",))
    if rng.random() < OCCLUDED_SHARE:
        add_occluder(picture, unit, floor, rng)
    return develop(picture, camera, rng)


def develop(picture: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Light, optics and sensor: an oversampled drawing becomes the camera's picture."""
    height, width = IMAGE_SIZE
    sensor = (max(8, round(width * camera.resolution)), max(16, round(height * camera.resolution)))
    small = cv2.resize(picture, sensor, interpolation=cv2.INTER_AREA)
    values = small.astype(np.float32) / 255 * _light(sensor, rng)
    lamp = np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    values = values * np.array(camera.gains, np.float32) * lamp
    values = np.clip(values, 0, 1) ** np.float32(camera.gamma * np.exp(rng.normal(0, 0.08)))
    grey = values.mean(axis=2, keepdims=True)
    values = grey + camera.saturation * (values - grey)
    values = 0.5 + camera.contrast * (values - 0.5)
    values = values + rng.normal(0, camera.noise / 255, values.shape).astype(np.float32)
    values = cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
    blur = camera.blur * rng.uniform(0.6, 1.4)
    if blur > 0.2:
        values = cv2.GaussianBlur(values, (0, 0), blur)
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _light(sensor: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Brightness over the picture, (H, W, 1): a level, and slopes from a side and from above."""
    level, slope_x, slope_y = np.exp(rng.normal(0, 0.14)), rng.normal(0, 0.22), rng.normal(0, 0.15)
    x, y = np.linspace(-1, 1, sensor[0]), np.linspace(-1, 1, sensor[1])
    light = level * (1 + slope_x * x[None, :] + slope_y * y[:, None])
    return np.clip(light, 0.3, 2.0).astype(np.float32)[..., None]
