"""Resizing inside a graph, as Pillow does it: by two matrices that are made from the crop's size.

ONNX has an operator for it from opset 18 on, which some runtimes lack. A product of matrices is in
all of them. The kernel is widened when an image shrinks, so that nothing is skipped (Pillow's
"antialiasing"), and each of the two passes ends in whole numbers of 0..255, as Pillow's do.

Letters: B images, h, w pixels of the crop, H, W pixels of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from reid_common.errors import UserError
from torch import Tensor, nn

from ..data.resizing import resizing_of


def triangle(distance: Tensor) -> Tensor:
    """Kernel of bilinear interpolation, of distances in pixels."""
    return (1 - distance.abs()).clamp(min=0)


def cubic(distance: Tensor) -> Tensor:
    """Kernel of bicubic interpolation (Keys, 1981) with a = -0.5, Pillow's choice."""
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


KERNELS = {"bilinear": triangle, "bicubic": cubic}


def weights(size: Tensor, wanted: int, kernel: str) -> Tensor:
    """Share of each of ``size`` () pixels in each of ``wanted`` ones: (wanted, size).

    Rows sum to 1. The size is a tensor, so that a traced graph calculates it from each crop.
    """
    scale = size.float() / wanted
    centres = (torch.arange(wanted, dtype=torch.float32)[:, None] + 0.5) * scale
    pixels = torch.arange(cast(Any, size))[None].float() + 0.5
    found = KERNELS[kernel]((pixels - centres) / scale.clamp(min=1))
    return found / found.sum(1, keepdim=True)


class Resize(nn.Module):
    """Images (B, 3, h, w) of 0..255 as (B, 3, H, W), whole numbers of 0..255.

    Args:
        image_size: (H, W) in pixels.
        kernel: a name of :data:`KERNELS`.
    """

    def __init__(self, image_size: Sequence[int], kernel: str) -> None:
        super().__init__()
        self.height, self.width = image_size
        self.kernel = kernel

    def forward(self, images: Tensor) -> Tensor:
        """Resize a batch, first along the rows (Pillow begins with the axis that saves most)."""
        from torch.onnx.operators import shape_as_tensor  # late: seconds

        shape = shape_as_tensor(images)
        across = weights(shape[3], self.width, self.kernel)  # (W, w)
        down = weights(shape[2], self.height, self.kernel)  # (H, h)
        rows = (images @ across.T).round().clamp(0, 255)  # (B, 3, h, W)
        return (down @ rows).round().clamp(0, 255)


def kernel_of(transform: Any, image_size: Sequence[int]) -> str:
    """Kernel with which a test transform resizes.

    Raises:
        UserError: the transform does more than to resize to the model's size.
    """
    steps = resizing_of(transform)
    if steps.strange or steps.crop is not None or steps.interpolation not in KERNELS:
        raise UserError(
            f"the test transform is {' '.join(repr(transform).split())}; a graph that resizes does "
            f"it alone, {' or '.join(KERNELS)}: use a profile for crops of the model's size"
        )
    if tuple(image_size) != steps.size:
        size, wanted = list(steps.size), list(image_size)
        raise UserError(f"the test transform resizes to {size}, not to {wanted}")
    return steps.interpolation
