"""Colour operations on uint8 RGB images (H, W, 3), as torchvision's do on PIL images.

Each returns a new image. A factor is torchvision's: 1 changes nothing for brightness, contrast and
saturation, 0 gives black, grey or a grey image; the factor of hue is a part of the circle, 0 for
nothing. PIL cuts fractions off, where OpenCV rounds: hence the half that is taken away everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

# ITU-R 601-2, as in PIL's mode L
LUMA = (0.299, 0.587, 0.114)
# Whole numbers have to stay: so a little less than a half.
CUT = -0.498
# Matrices (3, 4), the last column added: saturation = factor * _COLOUR + _GREY
_COLOUR = np.column_stack([np.eye(3) - LUMA, np.zeros(3)])
_GREY = np.column_stack([np.tile(LUMA, (3, 1)), np.full(3, CUT)])


def adjust_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply all values by ``factor`` (at least 0)."""
    return cv2.addWeighted(image, factor, image, 0.0, CUT)


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the mean of the image's grey values: factor * image + (1 - factor) * mean."""
    red, green, blue, _ = cv2.mean(image)
    mean = int(LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue + 0.5)
    return cv2.addWeighted(image, factor, image, 0.0, (1 - factor) * mean + CUT)


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend each pixel with its grey value, by a 3x3 matrix."""
    return cv2.transform(image, factor * _COLOUR + _GREY)


def adjust_hue(image: np.ndarray, factor: float) -> np.ndarray:
    """Turn the hue by ``factor`` of the circle, -0.5..0.5."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    rows = hsv.reshape(len(hsv), -1)
    shift = np.zeros(rows.shape[1], np.uint8)  # of a whole row: numpy adds long rows fast
    shift[::3] = int(factor * 255) % 256
    rows += shift  # wraps round, as hue does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=hsv)


def to_grayscale(image: np.ndarray) -> np.ndarray:
    """The grey image, with three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def solarize(image: np.ndarray, threshold: int) -> np.ndarray:
    """Invert the values of at least ``threshold`` (0..256)."""
    return cv2.LUT(image, _solarize_table(threshold))


@functools.cache
def _solarize_table(threshold: int) -> np.ndarray:
    values = np.arange(256)
    return np.where(values < threshold, values, 255 - values).astype(np.uint8)


# What colour jitter puts into random order, in the order of its factors.
JITTER: tuple[Callable[[np.ndarray, float], np.ndarray], ...] = (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    adjust_hue,
)
