"""Random erasing with noise, in a loader's worker or, for a whole batch, on the device.

Source: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, as timm draws it for the
released code: one rectangle, filled with noise N(0, 1) after normalisation. Here pixels are 0..255
and the model normalises them, so that noise has the mean and standard deviation of each channel.

INPUT.ON_DEVICE: an image travels as bytes, a quarter of float32, with the rectangle and a seed for
its noise, both drawn on the host from what belongs to the sample. So a batch is a function of its
samples' seeds, whenever it is copied, and a resumed run has the same ones. Flip and crop stay on
the host, where they move bytes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from reid_core.run.devices import from_host
from torch import Tensor

AREA, ASPECT = (0.02, 1 / 3), (0.3, 1 / 0.3)  # of the image; height / width
ATTEMPTS = 10
SEEDS = 2**62


class Rectangle(NamedTuple):
    """Rows and columns that are erased; none where the height is 0."""

    top: int = 0
    left: int = 0
    height: int = 0
    width: int = 0


def draw_rectangle(size: Sequence[int], probability: float) -> Rectangle:
    """Draw, from ``random`` and in timm's order, what to erase of an image of (height, width)."""
    height, width = size
    if random.random() > probability:
        return Rectangle()
    logs = [math.log(ratio) for ratio in ASPECT]
    for _ in range(ATTEMPTS):
        area = random.uniform(*AREA) * (height * width)
        aspect = math.exp(random.uniform(*logs))
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rows < height and columns < width:
            places = random.randint(0, height - rows), random.randint(0, width - columns)
            return Rectangle(*places, rows, columns)
    return Rectangle()


class NoiseErasing:
    """Random erasing with noise for each pixel, for images before normalising.

    Args:
        probability: that an image is erased.
        mean: of the noise in each channel, 0..255.
        std: of the noise in each channel.
    """

    def __init__(self, probability: float, mean: Sequence[float], std: Sequence[float]) -> None:
        self.probability = probability
        self.mean, self.std = torch.tensor([mean, std], dtype=torch.float32)[..., None, None]

    def __call__(self, image: Tensor) -> Tensor:
        """Erase in a copy of ``image`` (C, H, W), float32; the image itself where nothing is."""
        channels, *size = image.shape
        top, left, height, width = draw_rectangle(size, self.probability)
        if not height:
            return image
        noise = torch.empty(channels, height, width).normal_()
        image = image.clone()
        image[:, top : top + height, left : left + width] = noise * self.std + self.mean
        return image

    def on_batch(self, images: Tensor, rectangles: Tensor, seed: int) -> Tensor:
        """Erase in images (B, C, H, W), float32, on their device, without waiting for it.

        Args:
            images: pixels 0..255.
            rectangles: (B, 4), on the same device, see :class:`Rectangle`.
            seed: of the noise of the batch.
        """
        device = images.device
        generator = torch.Generator(device).manual_seed(seed)
        noise = torch.randn(images.shape, generator=generator, device=device)
        std, mean = (from_host(tensor, device) for tensor in (self.std, self.mean))
        top, left, height, width = rectangles[..., None, None].unbind(1)  # (B, 1, 1) each
        rows, columns = (torch.arange(n, device=device) for n in images.shape[-2:])
        within = (rows[:, None] >= top) & (rows[:, None] < top + height)
        within = within & (columns >= left) & (columns < left + width)  # (B, H, W)
        return torch.where(within[:, None], noise * std + mean, images)


class BytesToDevice:
    """A pipeline whose images travel as bytes, and are finished where they arrive.

    Args:
        steps: PIL image -> PIL image (RGB), on the host.
        erase: None: nothing is erased.
    """

    def __init__(
        self, steps: Callable[[Image.Image], Image.Image], erase: NoiseErasing | None
    ) -> None:
        self.steps, self.erase = steps, erase

    def __call__(self, image: Image.Image) -> dict[str, Any]:
        """What a sample holds of an image.

        Returns:
            "images" (H, W, 3) uint8, and with erasing "erase": (5,) int64, a :class:`Rectangle`
            and the seed of the noise.
        """
        pixels = np.array(self.steps(image))
        sample: dict[str, Any] = {"images": torch.from_numpy(pixels)}
        if self.erase is not None:
            rectangle = draw_rectangle(pixels.shape[:2], self.erase.probability)
            sample["erase"] = torch.tensor([*rectangle, random.randrange(SEEDS)])
        return sample

    def finish(self, batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
        """Copy a batch's images from the host to the device, and finish them there.

        Returns:
            The batch, "images" (B, 3, H, W) float32, pixels 0..255, noise beyond; no "erase".
        """
        batch = dict(batch)
        images = batch["images"].to(device, non_blocking=True).permute(0, 3, 1, 2)
        images = images.to(torch.float32, memory_format=torch.contiguous_format)
        if self.erase is not None:
            drawn = batch.pop("erase")
            rectangles = drawn.to(device, non_blocking=True)[:, :4]
            images = self.erase.on_batch(images, rectangles, int(drawn[0, 4]))
        return {**batch, "images": images}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.steps!r}, erase={self.erase is not None})"
