"""What range of numbers a graph takes as images, and how it notices another one.

Trackers and demos give RGB / 255 less ImageNet's mean, by its deviation. Taken for pixels of 0..255
that is a nearly black picture: the features of all images are nearly equal, and nothing fails. So a
graph is exported for what it will be given, and answers what is not that with NaN.

Letters: B images, H, W pixels.
"""

from __future__ import annotations

import torch
from reid_core.config.values import check_choice
from torch import Tensor, nn

PIXELS, UNIT, IMAGENET = "0-255", "0-1", "imagenet"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in 0..1
KINDS = {  # by name, with what the graph's metadata say
    PIXELS: "RGB, 0..255",
    UNIT: "RGB, 0..1",
    IMAGENET: f"RGB, 0..1, less {MEAN}, by {STD}",
}
LIMITS = {UNIT: (-0.3, 1.3), IMAGENET: (-5.0, 5.0)}  # a resize may leave the range a little
DARK = 3.0  # no normalised picture has a number beyond it
WHOLE = 1e-3  # how near to whole numbers, or to 0..1, rounding leaves pixels of 0..255


class InputRange(nn.Module):
    """Pixels 0..255 of what a graph is given.

    Args:
        kind: a name of :data:`KINDS`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: str = PIXELS) -> None:
        super().__init__()
        check_choice("--input", kind, tuple(KINDS))
        self.kind = kind
        mean, std = (MEAN, STD) if kind == IMAGENET else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def pixels(self, images: Tensor) -> Tensor:
        """Pixels of images (B, 3, H, W)."""
        return images if self.kind == PIXELS else (images * self.std + self.mean) * 255

    def from_pixels(self, pixels: Tensor) -> Tensor:
        """Inverse of :meth:`pixels`."""
        return pixels if self.kind == PIXELS else (pixels / 255 - self.mean) / self.std

    def fault(self, images: Tensor) -> Tensor:
        """NaN for images (B, 3, H, W) that are of another range, else 0; (1, 1).

        Pixels of 0..255 are taken for another range where the whole batch is within +-3 and not of
        whole numbers: a black picture is not. Normalised images are, where all numbers are
        fractions of 255 in 0..1: normalising leaves none, but for a resize after the division the
        range is not noticed. It is the root of a number that is negative there, because not every
        runtime has logical operators (cv2.dnn has not).
        """
        if self.kind == PIXELS:
            excess = torch.relu(DARK - _largest(images.abs()))
            excess = excess * _largest((images - images.round()).abs())
        else:
            low, high = LIMITS[self.kind]
            excess = torch.relu(_largest(images) - high) + torch.relu(_largest(-images) + low)
        if self.kind == IMAGENET:
            excess = excess + _unit_pixels(images)
        return torch.sqrt(-excess)


def _unit_pixels(images: Tensor) -> Tensor:
    """Positive where a batch is pixels / 255, all in 0..1 and not all 0; else 0: (1, 1)."""
    numbers = images * 255
    beyond = torch.relu(_largest(images) - 1) + torch.relu(_largest(-images))
    broken = _largest((numbers - numbers.round()).abs())
    return torch.relu(WHOLE - beyond) * torch.relu(WHOLE - broken) * _largest(images.abs())


def _largest(images: Tensor) -> Tensor:
    """Largest number of a batch (B, 3, H, W): (1, 1)."""
    return images.flatten(1).amax(1, keepdim=True).amax(0, keepdim=True)
