"""Small data sets that the tests draw: Market-1501's layout, coloured noise for persons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_market(
    root: Path,
    num_train_ids: int = 4,
    num_test_ids: int = 3,
    num_cameras: int = 3,
    images_per_camera: int = 2,
    size: tuple[int, int] = (64, 32),
    seed: int = 0,
) -> Path:
    """Write ``root/Market-1501-v15.09.15`` and return it.

    Each identity has a colour of its own, so that a model can learn something; ``size`` is (H, W)
    in pixels; cameras are c1..cN in the file names (Market-1501 has at most 6).
    """
    rng = np.random.default_rng(seed)
    data = root / "Market-1501-v15.09.15"
    splits = {"bounding_box_train": range(1, num_train_ids + 1)}
    test_ids = range(num_train_ids + 1, num_train_ids + num_test_ids + 1)
    splits["query"] = splits["bounding_box_test"] = test_ids
    for split, identities in splits.items():
        (data / split).mkdir(parents=True, exist_ok=True)
        for identity in identities:
            colour = np.random.default_rng(identity).integers(0, 256, (4, 1, 3))
            person = np.repeat(colour, size[0] // 4, axis=0).repeat(size[1], axis=1)
            for camera in range(1, num_cameras + 1):
                for number in range(1 if split == "query" else images_per_camera):
                    noise = rng.integers(-20, 21, person.shape)
                    pixels = np.clip(person + noise, 0, 255).astype(np.uint8)
                    name = f"{identity:04d}_c{camera}s1_{number:06d}_00.jpg"
                    Image.fromarray(pixels).save(data / split / name, quality=95)
    return data
