"""Images without labels, wherever they are stored: what MultiCropDataset reads from."""

from __future__ import annotations

import abc
import bisect
import io
import itertools
import os
from collections.abc import Sequence
from typing import BinaryIO

import cv2
import numpy as np
from torch import Tensor

from ..transforms.decode import decode_image
from .path_list import PathList

MIN_SIDE = 4  # pixels; of less, a local view would be a part of one pixel


class BadImage(Exception):
    """An image of this name cannot be used, for a reason of one line."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason


class UnlabelledImages(abc.ABC):
    """A sequence of images."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Name of an image for people: a path as far as there is one."""

    @abc.abstractmethod
    def content(self, index: int) -> bytes:
        """The image's file, as stored; raises OSError where it cannot be read."""

    def open(self, index: int) -> BinaryIO:
        """The image's file, for who needs its beginning only; raises OSError likewise."""
        return io.BytesIO(self.content(index))

    @abc.abstractmethod
    def stamp(self, index: int) -> tuple[int, int]:
        """Size and time of change of what holds the image, which stay while the image does."""

    def read(self, index: int) -> np.ndarray:
        """An image (H, W, 3), uint8, RGB, both sides at least :data:`MIN_SIDE`.

        Raises:
            BadImage: it cannot be read or decoded, or is too small.
        """
        try:
            image = decode_image(self.content(index))
        except OSError as error:
            raise BadImage(self.name(index), error.strerror or str(error)) from error
        except (ValueError, cv2.error) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadImage(self.name(index), reason) from error
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            reason = f"{width} x {height} pixels, sides must be {MIN_SIDE} or more"
            raise BadImage(self.name(index), reason)
        return image


class ListedImages(UnlabelledImages):
    """Images that have names (keys, relative to where they are), by which a list can choose."""

    def __init__(self, keys: PathList) -> None:
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)


def stamp_of(path: str) -> tuple[int, int]:
    """Bytes and time of change of a file, in nanoseconds."""
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns


class FileImages(ListedImages):
    """Image files, whose paths count from ``folder`` or are absolute."""

    def __init__(self, keys: PathList, folder: str = "") -> None:
        super().__init__(keys)
        self.folder = folder

    def name(self, index: int) -> str:
        """Path."""
        return os.path.join(self.folder, self.keys[index])

    def content(self, index: int) -> bytes:
        """The file."""
        with self.open(index) as file:
            return file.read()

    def open(self, index: int) -> BinaryIO:
        """The file, opened."""
        return open(self.name(index), "rb")

    def stamp(self, index: int) -> tuple[int, int]:
        """Bytes and time of change of the file, in nanoseconds."""
        return stamp_of(self.name(index))


class ImagesElsewhere(UnlabelledImages):
    """Images that other sources hold, which say what there is to say of each."""

    @abc.abstractmethod
    def at(self, index: int) -> tuple[UnlabelledImages, int]:
        """The source of an image, and its index there."""

    def name(self, index: int) -> str:
        """As its source says."""
        source, own = self.at(index)
        return source.name(own)

    def content(self, index: int) -> bytes:
        """As its source says."""
        source, own = self.at(index)
        return source.content(own)

    def open(self, index: int) -> BinaryIO:
        """As its source says."""
        source, own = self.at(index)
        return source.open(own)

    def stamp(self, index: int) -> tuple[int, int]:
        """As its source says."""
        source, own = self.at(index)
        return source.stamp(own)


class SelectedImages(ImagesElsewhere):
    """Some images of others: those of ``indices``, (N,) int64, in that order."""

    def __init__(self, images: UnlabelledImages, indices: Tensor) -> None:
        self.images, self.indices = images, indices

    def __len__(self) -> int:
        return len(self.indices)

    def at(self, index: int) -> tuple[UnlabelledImages, int]:
        """The others, and which of them."""
        return self.images, int(self.indices[index])


class ChainedImages(ImagesElsewhere):
    """The images of several sources, one after the other."""

    def __init__(self, sources: Sequence[UnlabelledImages]) -> None:
        self.sources = list(sources)
        self.starts = [0, *itertools.accumulate(map(len, self.sources))]

    def __len__(self) -> int:
        return self.starts[-1]

    def at(self, index: int) -> tuple[UnlabelledImages, int]:
        """The source of an image, and its index there; raises IndexError out of 0..N-1."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not in 0..{len(self) - 1}")
        number = bisect.bisect_right(self.starts, index) - 1
        return self.sources[number], index - self.starts[number]
