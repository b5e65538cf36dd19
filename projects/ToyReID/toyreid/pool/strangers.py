"""Persons of other domains than ToyReID's: other colours, surroundings, angles and cameras."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..people import Person, draw_person, random_pose

SIZES = ((96, 48), (128, 64), (160, 64), (192, 96))  # (H, W) pixels
OVERSAMPLING = 2


def other_domain(person: Person, rng: np.random.Generator) -> np.ndarray:
    """A person in one of :data:`WORLDS`: (H, W, 3) uint8, RGB, of one of :data:`SIZES`."""
    world = str(rng.choice(list(WORLDS)))
    height, width = SIZES[int(rng.integers(len(SIZES)))]
    big = (height * OVERSAMPLING, width * OVERSAMPLING)
    unit = big[0] * rng.uniform(0.8, 1.0)
    foot = (big[1] * rng.uniform(0.42, 0.58), big[0] * rng.uniform(0.92, 1.0))
    figure, mask = draw_person(person, int(rng.integers(3)), random_pose(rng), big, foot, unit)
    picture = WORLDS[world](figure, mask, rng)
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    noise = rng.normal(0, rng.uniform(1, 6), picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def _over(figure: np.ndarray, mask: np.ndarray, ground: np.ndarray) -> np.ndarray:
    picture = np.ascontiguousarray(ground)
    cv2.copyTo(figure, mask, picture)
    return picture


def _recoloured(figure: np.ndarray, hue: float, saturation: float, gamma: float) -> np.ndarray:
    """Turn hues (0..1), scale saturation, bend brightness."""
    hsv = cv2.cvtColor(figure, cv2.COLOR_RGB2HSV_FULL).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + 255 * hue) % 256
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation + 25 * (saturation > 1), 0, 255)
    hsv[..., 2] = 255 * (hsv[..., 2] / 255) ** gamma
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB_FULL)


def _ramp(shape: tuple[int, ...], first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Two colours, one running into the other from above: (H, W, 3) uint8."""
    steps = np.linspace(0, 1, shape[0])[:, None, None]
    return np.broadcast_to(first * (1 - steps) + last * steps, shape).astype(np.uint8)


def _vignette(picture: np.ndarray, strength: float) -> np.ndarray:
    y, x = (np.linspace(-1, 1, n) for n in picture.shape[:2])
    light = 1 - strength * np.clip(x[None, :] ** 2 + y[:, None] ** 2, 0, 1.4) / 1.4
    return (picture * light[..., None]).astype(np.uint8)


def _infrared(figure: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A night camera with a lamp: no colours, cloth is bright whatever its colour, dark corners."""
    grey = cv2.cvtColor(figure, cv2.COLOR_RGB2GRAY)
    bright = (110 + 0.5 * grey).astype(np.uint8)
    ground = _ramp(figure.shape, np.full(3, rng.uniform(5, 30)), np.full(3, rng.uniform(40, 80)))
    picture = _over(np.repeat(bright[..., None], 3, axis=2), mask, ground)
    picture = _vignette(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 2.5)), 0.8)
    picture[:: int(rng.integers(4, 7))] = picture[:: int(rng.integers(4, 7))][:1] // 2
    return picture


def _thermal(figure: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Warm bodies in false colours."""
    heat = cv2.GaussianBlur(mask, (0, 0), 0.02 * mask.shape[0]).astype(np.float32) * 0.7
    heat += 0.2 * cv2.cvtColor(figure, cv2.COLOR_RGB2GRAY)
    drift = cv2.resize(rng.uniform(10, 80, (6, 3)).astype(np.float32), mask.shape[::-1])
    colours = int(rng.choice((cv2.COLORMAP_JET, cv2.COLORMAP_INFERNO, cv2.COLORMAP_HOT)))
    values = np.clip(heat + drift, 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(values, colours), cv2.COLOR_BGR2RGB)


def _neon(figure: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A night street with coloured lamps; clothes of garish colours."""
    height, width = mask.shape
    picture: np.ndarray = np.full(figure.shape, rng.integers(5, 30), np.uint8)
    for _ in range(int(rng.integers(6, 14))):
        centre = (int(rng.integers(width)), int(rng.integers(int(0.7 * height))))
        colour = np.zeros(3)
        colour[rng.permutation(3)[:2]] = rng.integers(120, 256, 2)
        radius = int(rng.uniform(0.03, 0.14) * width) + 2
        cv2.circle(picture, centre, radius, tuple(int(c) for c in colour), -1)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.03 * width)
    bright = _recoloured(figure, rng.uniform(0.2, 0.8), 2.2, 0.6)
    return _over(bright, mask, picture)


def _aerial(figure: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """From high above: large head, small feet, bright tiled floor, pale colours."""
    height, width = mask.shape
    narrow, low = rng.uniform(0.28, 0.38) * width, rng.uniform(0.7, 0.9) * height
    source = [(0, 0), (width, 0), (width, height), (0, height)]
    target = [(-0.35 * width, 0), (1.35 * width, 0), (width - narrow, low), (narrow, low)]
    warp = cv2.getPerspectiveTransform(*np.array((source, target), np.float32))
    figure = cv2.warpPerspective(figure, warp, (width, height))
    mask = cv2.warpPerspective(mask, warp, (width, height), flags=cv2.INTER_NEAREST)
    floor = _ramp(figure.shape, rng.uniform(190, 240, 3), rng.uniform(200, 250, 3)).copy()
    step = int(rng.uniform(0.2, 0.4) * width)
    slant = int(rng.uniform(-0.5, 0.5) * width)
    for at in range(-height, height + width, step):
        cv2.line(floor, (0, at), (width, at + slant), (170, 170, 175), 2)
        cv2.line(floor, (at, 0), (at - 2 * slant, height), (170, 170, 175), 2)
    return _over(_recoloured(figure, rng.uniform(0.1, 0.9), 0.6, 0.55), mask, floor)


def _poster(figure: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A print in a few flat colours over dots."""
    ground = _ramp(figure.shape, rng.uniform(60, 255, 3), rng.uniform(60, 255, 3)).copy()
    step = int(rng.integers(10, 22))
    ink = tuple(int(c) for c in rng.integers(0, 255, 3))
    for y in range(0, mask.shape[0], step):
        for x in range((y // step % 2) * step // 2, mask.shape[1], step):
            cv2.circle(ground, (x, y), step // 4, ink, -1)
    bright = _recoloured(figure, rng.uniform(0.15, 0.85), 1.6, 0.7)
    return _over(bright // 86 * 127, mask, ground)


def _sketch(figure: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pencil drawing on paper."""
    picture = _over(figure, mask, np.full(figure.shape, 235, np.uint8))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    edges = cv2.dilate(cv2.Canny(grey, 40, 90), np.ones((2, 2), np.uint8))
    paper = rng.uniform((215, 205, 180), (252, 250, 240)) - 0.14 * (235 - grey[..., None])
    paper[edges > 0] = rng.uniform(20, 100)
    return np.clip(paper, 0, 255).astype(np.uint8)


# Figure and mask -> picture, by the names of the functions.
WORLDS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    world.__name__[1:]: world for world in (_infrared, _thermal, _neon, _aerial, _poster, _sketch)
}
