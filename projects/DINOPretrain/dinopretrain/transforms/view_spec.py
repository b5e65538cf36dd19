"""What a view may look like, and the random draws that settle what one does look like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from reid_common.errors import UserError

from . import geometry

PROBABILITIES = ("flip_prob", "jitter_prob", "grayscale_prob", "blur_prob", "solarize_prob")
# Of random erasing: part of the view's area, height / width, and tries to find a place.
ERASED_AREA, ERASED_LOG_RATIO, ERASE_ATTEMPTS = (0.02, 0.6), np.log([0.3, 1 / 0.3]), 10


@dataclass(frozen=True)
class ViewSpec:
    """One kind of view: its size and the distribution of its augmentation.

    Attributes:
        size: (H, W) in pixels.
        scale: least and greatest part of the image's area that the view shows, 0..1.
        ratio: least and greatest width / height of the rectangle in the image, before the resize.
        flip_prob: of a horizontal flip.
        jitter_prob: of colour jitter, all four of the following in random order.
        brightness: the factor is uniform in 1 +- this; so for contrast and saturation.
        hue: the shift is uniform in +- this part of the circle, at most 0.5.
        grayscale_prob: that colours go.
        blur_prob: of Gaussian blur.
        blur_sigma: least and greatest standard deviation, in pixels of the view.
        solarize_prob: that bright values are inverted.
        solarize_threshold: from this value on, 0..256.
        interpolation: of the resize, "bicubic" or "bilinear", antialiased.
        erase_prob: that a rectangle gets one colour.
        erase_colour: red, green and blue, 0..255.
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_prob: float = 0.5
    jitter_prob: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grayscale_prob: float = 0.2
    blur_prob: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_prob: float = 0.0
    solarize_threshold: int = 128
    interpolation: str = "bicubic"
    erase_prob: float = 0.0
    erase_colour: tuple[int, ...] = (124, 116, 104)  # ImageNet's mean: 0 when normalised

    def __post_init__(self) -> None:
        right = {
            "size": (min(self.size) >= 1, "(height, width) in pixels"),
            "scale": (0 < self.scale[0] <= self.scale[1] <= 1, "0 < least <= greatest <= 1"),
            "ratio": (0 < self.ratio[0] <= self.ratio[1], "0 < least <= greatest"),
            "blur_sigma": (0 <= self.blur_sigma[0] <= self.blur_sigma[1], "0 <= least <= greatest"),
            "hue": (0 <= self.hue <= 0.5, "a part of the circle from 0 to 0.5"),
        }
        for name in ("brightness", "contrast", "saturation"):
            right[name] = (getattr(self, name) >= 0, "0 or more")
        for name in PROBABILITIES:
            right[name] = (0 <= getattr(self, name) <= 1, "a probability from 0 to 1")
        for name, (is_right, remedy) in right.items():
            if not is_right:
                raise UserError(f"a view's {name} is {getattr(self, name)}; set {remedy}")


class ViewDraw(NamedTuple):
    """What was drawn for one view.

    Attributes:
        crop: top, left, height, width in the image.
        flip: left to right.
        jitter: (position in colour.JITTER, factor) in the order of doing; empty for none.
        grayscale: take the colours out.
        sigma: of the blur; None for none.
        solarize: threshold; None for none.
        erase: top, left, height, width in the view; None for none.
        interpolation, erase_colour: as in :class:`ViewSpec`.
    """

    crop: tuple[int, int, int, int]
    flip: bool
    jitter: list[tuple[int, float]]
    grayscale: bool
    sigma: float | None
    solarize: int | None
    erase: tuple[int, int, int, int] | None = None
    interpolation: str = "bicubic"
    erase_colour: tuple[int, ...] = ()


# Columns of uniform numbers: crop, five yes or no, four factors, four that are sorted for the order
# of the jitter, one sigma.
_CROP, _CHOICE, _FACTOR, _ORDER, DRAWS = np.cumsum([geometry.DRAWS, 5, 4, 4, 1]).tolist()


class Drawer:
    """Draws all views of an image, one for each spec, from one table of uniform numbers."""

    def __init__(self, specs: Sequence[ViewSpec]) -> None:
        self.specs = list(specs)
        self._erases = any(spec.erase_prob > 0 for spec in specs)
        self._scale = np.array([spec.scale for spec in specs])
        self._log_ratio = np.log([spec.ratio for spec in specs])
        self._probabilities = np.array([[getattr(s, n) for n in PROBABILITIES] for s in specs])
        strength = np.array([(s.brightness, s.contrast, s.saturation, s.hue) for s in specs])
        centre = np.array([1.0, 1.0, 1.0, 0.0])
        self._factor_low = centre - strength
        self._factor_low[:, :3] = self._factor_low[:, :3].clip(min=0)
        self._factor_range = centre + strength - self._factor_low
        self._sigma_low, high = np.transpose([spec.blur_sigma for spec in specs])
        self._sigma_range = high - self._sigma_low

    def __call__(
        self, image_size: tuple[int, int], rng: np.random.Generator | None = None
    ) -> list[ViewDraw]:
        """Draw for an image of (H, W) pixels.

        ``rng`` is numpy's global source by default, which
        ``fastreid_compat.repairs.loading.reproducible.draws_of`` seeds for each sample.
        """
        random = np.random.random if rng is None else rng.random
        uniforms = random((len(self.specs), DRAWS))
        crops = geometry.random_crops(uniforms[:, :_CROP], image_size, self._scale, self._log_ratio)
        choices = uniforms[:, _CROP:_CHOICE] < self._probabilities
        factors = self._factor_low + uniforms[:, _CHOICE:_FACTOR] * self._factor_range
        orders = uniforms[:, _FACTOR:_ORDER].argsort(axis=1)
        sigmas = self._sigma_low + uniforms[:, _ORDER] * self._sigma_range
        columns = (column.tolist() for column in (crops, choices, factors, orders, sigmas))
        # Drawn behind all others, so that views without erasing stay what they were.
        erased = [
            random_rectangle(spec.size, random) if random() < spec.erase_prob else None
            for spec in (self.specs if self._erases else [])
        ] or [None] * len(self.specs)
        return [
            ViewDraw(
                crop=tuple(crop),
                flip=flip,
                jitter=[(number, factor[number]) for number in order] if jitter else [],
                grayscale=grayscale,
                sigma=sigma if blur else None,
                solarize=spec.solarize_threshold if solarize else None,
                erase=erase,
                interpolation=spec.interpolation,
                erase_colour=spec.erase_colour,
            )
            for (
                spec,
                erase,
                crop,
                (flip, jitter, grayscale, blur, solarize),
                factor,
                order,
                sigma,
            ) in zip(self.specs, erased, *columns, strict=True)
        ]


def random_rectangle(
    size: tuple[int, int], random: Callable[..., Any]
) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of what is erased in a view of (H, W) pixels.

    Source: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, algorithm 1. None where no
    try fits.
    """
    for _ in range(ERASE_ATTEMPTS):
        area, shape, top, left = random(4)
        area = (ERASED_AREA[0] + area * (ERASED_AREA[1] - ERASED_AREA[0])) * size[0] * size[1]
        ratio = np.exp(ERASED_LOG_RATIO[0] + shape * np.diff(ERASED_LOG_RATIO)[0])
        height, width = round(float(np.sqrt(area * ratio))), round(float(np.sqrt(area / ratio)))
        if 0 < height < size[0] and 0 < width < size[1]:
            corner = int(top * (size[0] - height + 1)), int(left * (size[1] - width + 1))
            return (*corner, height, width)
    return None
