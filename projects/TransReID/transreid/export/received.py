"""What a consumer gives, back to what a model takes: RGB pixels 0..255, (B, 3, H, W).

Letters: B images, h, w pixels of a crop, H, W pixels of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .input_range import InputRange
from .profiles import Profile
from .resize import Resize


class Received(nn.Module):
    """The first part of a graph: undoes what a consumer did to its crops.

    Args:
        profile: what the consumer gives.
        image_size: (H, W) in pixels.
        kernel: how raw crops are resized, a name of :data:`~.resize.KERNELS`.
    """

    def __init__(self, profile: Profile, image_size: Sequence[int], kernel: str) -> None:
        super().__init__()
        self.profile, self.image_size = profile, tuple(image_size)
        self.range = InputRange(profile.input_range)
        self.resize = Resize(image_size, kernel) if profile.raw else nn.Identity()

    def pixels(self, images: Tensor) -> Tensor:
        """RGB pixels (B, 3, H, W), float32 0..255, of what is given."""
        if self.profile.raw:
            images = images.permute(0, 3, 1, 2).float()
        if self.profile.bgr:
            images = images[:, [2, 1, 0]]  # not flip(1): cv2.dnn has no negative steps
        return self.resize(self.range.pixels(images))

    def given(self, pixels: Tensor) -> Tensor:
        """What the consumer would give for crops of the model's size: inverse of :meth:`pixels`.

        Args:
            pixels: RGB (B, 3, H, W) of 0..255.
        """
        if self.profile.bgr:
            pixels = pixels[:, [2, 1, 0]]
        if self.profile.raw:
            return pixels.round().permute(0, 2, 3, 1).contiguous().to(torch.uint8)
        return self.range.from_pixels(pixels)

    def fault(self, images: Tensor) -> Tensor | float:
        """NaN for images of another range, see :meth:`InputRange.fault`; uint8 has but one."""
        return 0.0 if self.profile.raw else self.range.fault(images)

    def example(self, batch: int) -> Tensor:
        """Noise as the consumer gives it; raw crops are of another size for each batch size."""
        draw = torch.Generator().manual_seed(batch)
        height, width = self.image_size
        if self.profile.raw:
            height, width = height + 17 * batch, width // 2 + 3 * batch
        pixels = (torch.rand(batch, 3, height, width, generator=draw) * 255).round()
        return self.given(pixels)

    def dynamic_axes(self) -> dict[int, str]:
        """Names of the axes of the images that are free."""
        axes = {} if self.profile.batch else {0: "batch"}
        return axes | ({1: "height", 2: "width"} if self.profile.raw else {})
