"""What filters measure of an image, and how."""

from __future__ import annotations

import abc
from typing import Any

import cv2
import numpy as np
from dinopretrain.data.images import UnlabelledImages
from PIL import Image, UnidentifiedImageError

_ORIENTATION = 0x0112  # of EXIF; 5..8 lie on their side


class Measurement(abc.ABC):
    """Numbers that are measured of one image on its own.

    Attributes:
        key: names the measurement and its parameters: what was kept is found by it, so that a
            change of how it is measured changes the key.
        dtype: of the numbers.
        width: how many there are of an image.
    """

    key: str
    dtype: Any
    width = 1

    @abc.abstractmethod
    def measure(self, images: UnlabelledImages, index: int) -> Any:
        """The ``width`` numbers of an image.

        Raises:
            BadImage: see :meth:`~dinopretrain.data.images.UnlabelledImages.read`.
            OSError: it cannot be read.
            ValueError: it is no image.
        """


class HeaderSize(Measurement):
    """(height, width) in pixels, upright, from the header; nothing is decoded."""

    key, dtype, width = "header_size-1", np.int32, 2

    def measure(self, images: UnlabelledImages, index: int) -> tuple[int, int]:
        """Height and width."""
        with images.open(index) as file:
            try:
                with Image.open(file) as picture:
                    width, height = picture.size
                    turned = _orientation(picture) in (5, 6, 7, 8)
            except Exception as error:  # PIL's readers of headers raise anything
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # of the disk
                unknown = isinstance(error, UnidentifiedImageError)
                reason = "not an image" if unknown else str(error) or type(error).__name__
                raise ValueError(reason) from error
        return (width, height) if turned else (height, width)


def _orientation(picture: Image.Image) -> int:
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # getexif would decode the whole image to look behind it
    return picture.getexif().get(_ORIENTATION, 1)


class Sharpness(Measurement):
    """Variance of the Laplacian of the grey image at one ``size`` (height, width) in pixels."""

    dtype = np.float64

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.key = f"sharpness-1-{size[0]}x{size[1]}"

    def measure(self, images: UnlabelledImages, index: int) -> tuple[float]:
        """Variance in squared grey values (0..255)."""
        grey = cv2.cvtColor(images.read(index), cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, self.size[::-1], interpolation=cv2.INTER_AREA)
        return (float(cv2.Laplacian(grey, cv2.CV_64F).var()),)


class PerceptualHash(Measurement):
    """64 bits that similar pictures share: pHash.

    The grey image is brought to 32x32; of its discrete cosine transform the 8x8 lowest frequencies
    are compared with their median.
    """

    key, dtype = "phash-1", np.uint64

    def measure(self, images: UnlabelledImages, index: int) -> tuple[int]:
        """The hash as a number of 64 bits."""
        grey = cv2.cvtColor(images.read(index), cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
        low = cv2.dct(small.astype(np.float32))[:8, :8]
        return (int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big"),)
