"""What a view may look like, and the random draws that settle what one does look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from reid_common.errors import UserError

from . import geometry


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
        contrast: see brightness.
        saturation: see brightness.
        hue: the shift is uniform in +- this part of the circle, at most 0.5.
        grayscale_prob: that colours go.
        blur_prob: of Gaussian blur.
        blur_sigma: least and greatest standard deviation, in pixels of the view.
        solarize_prob: that bright values are inverted.
        solarize_threshold: from this value on, 0..256.
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

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise UserError(f"a view's size is {self.size}; set (height, width) in pixels")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"a view's scale is {self.scale}; set 0 < least <= greatest <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(f"a view's ratio is {self.ratio}; set 0 < least <= greatest")
        if not 0 <= self.blur_sigma[0] <= self.blur_sigma[1]:
            raise UserError(f"blur_sigma is {self.blur_sigma}; set 0 <= least <= greatest")
        if not 0 <= self.hue <= 0.5:
            raise UserError(f"hue is {self.hue}; set a part of the circle from 0 to 0.5")
        for name in ("brightness", "contrast", "saturation"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; set 0 or more")
        for name in ("flip_prob", "jitter_prob", "grayscale_prob", "blur_prob", "solarize_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; set a probability from 0 to 1")


class ViewDraw(NamedTuple):
    """What was drawn for one view.

    Attributes:
        crop: top, left, height, width in the image.
        flip: left to right.
        jitter: (position in colour.JITTER, factor) in the order of doing; empty for none.
        grayscale: take the colours out.
        sigma: of the blur; None for none.
        solarize: threshold; None for none.
    """

    crop: tuple[int, int, int, int]
    flip: bool
    jitter: list[tuple[int, float]]
    grayscale: bool
    sigma: float | None
    solarize: int | None


# Columns of uniform numbers: crop, five yes or no, four factors, four that are sorted for the order
# of the jitter, one sigma.
_CROP, _CHOICE, _FACTOR, _ORDER, DRAWS = np.cumsum([geometry.DRAWS, 5, 4, 4, 1]).tolist()


class Drawer:
    """Draws all views of an image from one table of uniform numbers.

    Args:
        specs: one for each view.
    """

    def __init__(self, specs: Sequence[ViewSpec]) -> None:
        self.specs = list(specs)
        self._scale = np.array([spec.scale for spec in specs])
        self._log_ratio = np.log([spec.ratio for spec in specs])
        self._probabilities = np.array(
            [
                (s.flip_prob, s.jitter_prob, s.grayscale_prob, s.blur_prob, s.solarize_prob)
                for s in specs
            ]
        )
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

        Args:
            image_size: (H, W) in pixels.
            rng: source of random numbers; numpy's global one by default, which
                ``fastreid_compat.repairs.loading.reproducible.draws_of`` seeds for each sample.
        """
        random = np.random.random if rng is None else rng.random
        uniforms = random((len(self.specs), DRAWS))
        crops = geometry.random_crops(uniforms[:, :_CROP], image_size, self._scale, self._log_ratio)
        choices = uniforms[:, _CROP:_CHOICE] < self._probabilities
        factors = self._factor_low + uniforms[:, _CHOICE:_FACTOR] * self._factor_range
        orders = uniforms[:, _FACTOR:_ORDER].argsort(axis=1)
        sigmas = self._sigma_low + uniforms[:, _ORDER] * self._sigma_range
        columns = (crops, choices, factors, orders, sigmas)
        rows = zip(self.specs, *(column.tolist() for column in columns), strict=True)
        return [_view_draw(*row) for row in rows]


def _view_draw(
    spec: ViewSpec,
    crop: list[int],
    choice: list[bool],
    factors: list[float],
    order: list[int],
    sigma: float,
) -> ViewDraw:
    flip, jitter, grayscale, blur, solarize = choice
    top, left, height, width = crop
    return ViewDraw(
        crop=(top, left, height, width),
        flip=flip,
        jitter=[(number, factors[number]) for number in order] if jitter else [],
        grayscale=grayscale,
        sigma=sigma if blur else None,
        solarize=spec.solarize_threshold if solarize else None,
    )
