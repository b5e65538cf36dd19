"""Files, arrays and tensors as RGB pictures, read as training and evaluation read theirs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from fastreid.data import data_utils
from PIL import Image, ImageOps
from reid_common.errors import UserError
from torch import Tensor

# str and Path: a file; array: (H, W, 3) RGB or (H, W) grey; tensor: (3, H, W) RGB
ImageInput: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray | Tensor"

KINDS = (
    "give a path, a PIL image, a uint8 array (H, W, 3) in RGB order or (H, W) in grey, or a tensor "
    "(3, H, W) of 0..255"
)


def as_list(images: ImageInput | Iterable[ImageInput]) -> list[ImageInput]:
    """One image or many as a list; arrays (N, H, W, 3) and tensors (N, 3, H, W) are many."""
    if isinstance(images, (str, os.PathLike, Image.Image)):
        return [images]
    if isinstance(images, (np.ndarray, Tensor)):
        return list(images) if images.ndim == 4 else [images]
    return list(images)


def to_rgb(image: ImageInput) -> Image.Image:
    """Read or convert one image.

    Files and PIL images are turned as their EXIF says; palettes and grey become RGB, transparency
    is dropped and 16 bits become 8, all as in the data loaders.

    Args:
        image: a file, a PIL image, a uint8 array (H, W, 3) RGB or (H, W) grey, or a tensor
            (3, H, W) or (1, H, W), uint8 or floating-point, of values 0..255 (fractions are
            rounded).

    Raises:
        UserError: a file that cannot be read, or something that is no image; it says what is.
    """
    if isinstance(image, (str, os.PathLike)):
        return data_utils.read_image(os.fspath(image))
    if isinstance(image, Image.Image):
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return ImageOps.exif_transpose(image).convert("RGB")
    if isinstance(image, Tensor):
        return Image.fromarray(_of_tensor(image))
    if isinstance(image, np.ndarray):
        return Image.fromarray(_of_array(image))
    raise UserError(f"a {type(image).__name__} is no image; {KINDS}")


def _of_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3) or not array.size:
        raise UserError(f"an array {array.shape} of {array.dtype} is no image; {KINDS}")
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _of_tensor(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3) or not tensor.numel():
        raise UserError(f"a tensor {tuple(tensor.shape)} is no image; {KINDS}")
    if tensor.is_floating_point():
        low, high = tensor.min().item(), tensor.max().item()
        if not (low >= 0 and high <= 255):  # in this form NaN is refused, too
            raise UserError(
                f"a tensor holds {low:.4g}..{high:.4g}; pixels are 0..255, before any normalisation"
            )
        if 0 < high <= 1:
            raise UserError(
                f"a floating-point tensor holds {low:.4g}..{high:.4g}, which looks like 0..1; "
                "pixels are 0..255: multiply it by 255"
            )
        tensor = tensor.round()
    return _of_array(tensor.numpy().astype(np.uint8).transpose(1, 2, 0))


def batch_entries(ids: Any, count: int, name: str) -> list[int]:
    """One 0-based id for each image from what a user gave as argument ``name``; -1 for None.

    ``ids`` are None, one number for all images, or ``count`` numbers, None for unknown.

    Raises:
        UserError: another number of ids than of images, or something that is no whole number.
    """
    if ids is None or isinstance(ids, (int, np.integer)):
        return [-1 if ids is None else int(ids)] * count
    entries = ids.tolist() if isinstance(ids, (np.ndarray, Tensor)) else list(ids)
    if len(entries) != count:
        raise UserError(f"{name} has {len(entries)} ids for {count} images; give one for each")
    for entry in entries:
        if entry is not None and not isinstance(entry, (int, np.integer)):
            raise UserError(f"{name} holds {entry!r}; ids are 0-based whole numbers, or None")
    return [-1 if entry is None else int(entry) for entry in entries]
