"""Write a picture for the tests of data filters."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB in the format of the file's suffix."""
    assert cv2.imwrite(str(path), image[..., ::-1])
