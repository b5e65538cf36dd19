"""Gaussian blur of uint8 images as PIL computes it: three extended boxes.

Source: Gwosdek et al., "Theoretical Foundations of Gaussian Convolution by Extended Box Filtering",
SSVM 2011. The three boxes are folded into one small kernel (7 values up to sigma 1.41, 13 up to
2.45), which OpenCV applies to rows and columns; an exact Gaussian would need more values and would
blur otherwise than the released code for sigma below 0.5.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

PASSES = 3
STEP = 0.01  # sigma is rounded to this, so that kernels are found in a table
ONE = 256  # OpenCV filters 8-bit images in whole 256ths


@functools.cache
def _kernel(steps: int) -> np.ndarray:
    """Kernel (2r + 1,) for sigma = steps * STEP, in whole 256ths that sum to 1."""
    box = extended_box((steps * STEP) ** 2 / PASSES)
    exact = functools.reduce(np.convolve, [box] * PASSES)
    kernel = np.rint(exact * ONE)
    kernel[len(kernel) // 2] += ONE - kernel.sum()  # the image gets no brighter, no darker
    return (kernel / ONE).astype(np.float32)


def extended_box(variance: float) -> np.ndarray:
    """Box filter (2r + 1,) of exactly this variance: equal values with a smaller one at each end.

    With r - 1 = l the largest radius of a plain box that varies no more, and a the weight of the
    ends against 1 inside: (l (l+1) (2l+1) / 3 + 2 a (l+1)^2) / (2l + 1 + 2a) = variance.
    """
    inner = int((math.sqrt(12 * variance + 1) - 1) / 2)
    width = 2 * inner + 1
    end = width * (variance - inner * (inner + 1) / 3) / (2 * ((inner + 1) ** 2 - variance))
    box = np.ones(width + 2)
    box[[0, -1]] = end
    return box / box.sum()


def gaussian_blur(image: np.ndarray, sigma: float, out: np.ndarray | None = None) -> np.ndarray:
    """Blur as PIL's GaussianBlur does.

    PIL repeats the border pixel before each of three passes; for sigma up to 1.41 that is the same
    as one pass over the mirrored border, beyond that it differs in the outermost pixels.

    Args:
        image: (H, W, 3), uint8.
        sigma: standard deviation in pixels; PIL calls it the radius.
        out: array to write into, not ``image``; a new one by default.
    """
    kernel = _kernel(round(sigma / STEP))
    return cv2.sepFilter2D(image, -1, kernel, kernel, dst=out, borderType=cv2.BORDER_REFLECT)
