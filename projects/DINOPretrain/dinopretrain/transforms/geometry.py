"""Where views lie in their image, and how they come to their size.

The distribution is torchvision's RandomResizedCrop (area uniform, aspect ratio log-uniform, ten
attempts, then the centre), the resize PIL's bicubic one with antialiasing. Letters: n views.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate

ATTEMPTS = 10
# Uniform numbers that a crop takes: area and ratio of each attempt, then the position.
DRAWS = 2 * ATTEMPTS + 2


def random_crops(
    uniforms: np.ndarray, image_size: tuple[int, int], scale: np.ndarray, log_ratio: np.ndarray
) -> np.ndarray:
    """Draw the rectangles of n views at once.

    Args:
        uniforms: (n, DRAWS), uniform in [0, 1): what all is decided by.
        image_size: (H, W) of the image in pixels.
        scale: (n, 2), least and greatest part of the image's area, 0..1.
        log_ratio: (n, 2), logarithms of the least and greatest width / height.

    Returns:
        (n, 4) int64: top, left, height, width, within the image.
    """
    height, width = image_size
    area = _between(scale, uniforms[:, :ATTEMPTS]) * (height * width)
    root_ratio = np.exp(0.5 * _between(log_ratio, uniforms[:, ATTEMPTS : 2 * ATTEMPTS]))
    side = np.sqrt(area)
    widths = np.rint(side * root_ratio).astype(np.int64)
    heights = np.rint(side / root_ratio).astype(np.int64)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.argmax(axis=1)
    rows = np.arange(len(uniforms))
    size = np.stack([heights[rows, first], widths[rows, first]], axis=1)
    room = np.array(image_size) - size + 1
    corner = (uniforms[:, 2 * ATTEMPTS :] * room).astype(np.int64)
    crops = np.concatenate([corner, size], axis=1)
    for row in np.flatnonzero(~fits[rows, first]):
        crops[row] = central_crop(image_size, np.exp(log_ratio[row]))
    return crops


def _between(limits: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Uniform numbers (n, k) in [0, 1) -> in the limits (n, 2) of each row."""
    return limits[:, :1] + uniforms * (limits[:, 1:] - limits[:, :1])


def central_crop(
    image_size: tuple[int, int], ratio: np.ndarray | tuple[float, float]
) -> tuple[int, int, int, int]:
    """The largest rectangle in the middle of an image whose width / height is within ``ratio``."""
    (height, width), (low, high) = image_size, ratio
    crop_height = round(width / low) if width / height < low else height
    crop_width = round(height * high) if width / height > high else width
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def resize(image: np.ndarray, size: tuple[int, int], mode: str = "bicubic") -> np.ndarray:
    """Resize as PIL does: bicubic (a = -0.5), antialiased along a side that gets shorter.

    OpenCV's cubic has another kernel (a = -0.75) and no antialiasing, so its views would be sharper
    than those of the released code. torch's kernel for uint8 images agrees with PIL to 2 of 255.

    Args:
        image: (H, W, 3), uint8; a view of a larger array is fine.
        size: (H, W) of the result.
        mode: "bicubic" or "bilinear".
    """
    if image.shape[:2] == size:
        return image
    if not (image.flags.c_contiguous and image.flags.writeable):
        image = image.copy()  # torch warns about arrays that cannot be written to
    # Seen as (1, H, W, 3) with channels last, what torch returns is laid out likewise.
    pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
    resized = interpolate(pixels, size=size, mode=mode, antialias=True)
    return resized.permute(0, 2, 3, 1).numpy()[0]
