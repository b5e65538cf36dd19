"""Small pictures with what photographs have: large areas, edges, texture, saturated colours."""

from __future__ import annotations

import cv2
import numpy as np


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Picture (height, width, 3), uint8, RGB, reproducible by its seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(4):  # clothes: plain rectangles, some black or white
        top, left = rng.integers(0, height), rng.integers(0, width)
        colour = rng.integers(0, 256, 3) if rng.random() < 0.7 else rng.choice([0, 255])
        image[top : top + height // 3, left : left + width // 3] = colour
    texture = rng.integers(-12, 13, image.shape)
    return (image + texture).clip(0, 255).astype(np.uint8)
