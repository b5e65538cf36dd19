"""Loaders: no CUDA needed, no hang, every type of a sample collated, bad images named."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
from fastreid.data import build, data_utils
from PIL import Image, UnidentifiedImageError
from reid_common.errors import UserError
from torch.utils.data import default_collate

from ...registry import fix, rebind, replace, source_has
from . import prefetch


@fix(
    where="data/data_utils.py:126-190",
    symptom="without CUDA: RuntimeError: Found no NVIDIA driver; and a training that waits for ever"
    " after an exception in a sampler, a worker, an image or the collator",
)
def prefetching_loader() -> bool:
    """Put loaders in place that work without CUDA and pass exceptions on (see prefetch.py)."""
    if not source_has(data_utils.BackgroundGenerator.run, "self.queue.put(None)"):
        return False
    rebind(data_utils.DataLoaderX, prefetch.PrefetchLoader)
    return True


@fix(
    where="data/build.py:168-187",
    symptom="a batch holds None, silently, where samples hold numpy integers, arrays or tuples",
)
def collator() -> bool:
    """Collate what torch collates; strings stay a list, as in FastReID."""
    return replace(build.fast_batch_collator, collate, "out[i] += tensor")


def collate(samples: Sequence[Any], name: str = "sample") -> Any:
    """Make a batch of samples.

    Mappings give a dict; tensors, numpy arrays and numbers a tensor with a new first dimension
    (Python floats in float64, as in FastReID); strings a list; tuples and lists a list of batches.

    Args:
        samples: the samples, all of the same kind.
        name: where they stand in the whole sample, for error messages.

    Raises:
        TypeError: a type that cannot be collated; the message names the key and the type.
    """
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: collate([sample[key] for sample in samples], str(key)) for key in first}
    if isinstance(first, (str, bytes)):
        return list(samples)
    if isinstance(first, (tuple, list)):
        columns = zip(*samples, strict=True)
        return [collate(column, f"{name}[{i}]") for i, column in enumerate(columns)]
    try:
        return default_collate(list(samples))
    except TypeError as error:
        raise TypeError(
            f"{name!r} of a sample is a {type(first).__name__}, of which no batch can be made; a"
            " data set gives tensors, arrays, numbers or strings"
        ) from error


def _open_and_decode(file: BinaryIO) -> Image.Image:
    image = Image.open(file)
    # Here, because the caller's `try: exif_transpose(image) except Exception: pass` would swallow
    # a decoding error and go on with the part of the image that was decoded.
    image.load()
    if image.mode.startswith("I;16"):
        # 16 bits would be cut off at 255, which is white, on the way to RGB.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


@fix(
    where="data/data_utils.py:17",
    symptom="an error about a damaged image does not name the file; PNG images with a palette have"
    " false colours, those with transparency cannot be batched",
)
def image_reading() -> bool:
    """Name the file when an image cannot be read, and read every image as RGB by default."""
    read_image = data_utils.read_image
    if not source_has(read_image, "ImageOps.exif_transpose(image)", "except Exception:"):
        return False

    @functools.wraps(read_image)
    def read(file_name: str, format: str | None = None) -> Image.Image:
        try:
            return read_image(file_name, format or "RGB")
        except Exception as error:
            raise UserError(f"image {str(file_name)!r} {_problem(file_name, error)}") from error

    data_utils.Image = SimpleNamespace(open=_open_and_decode, fromarray=Image.fromarray)
    rebind(read_image, read)
    return True


def _problem(file_name: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist; check the data set's folder and its lists"
    if isinstance(error, PermissionError):
        return "may not be read by this user; change its permissions"
    if os.path.isfile(file_name) and os.path.getsize(file_name) == 0:
        return "is an empty file; replace or delete it"
    if isinstance(error, UnidentifiedImageError):
        return "is not an image that Pillow knows; replace or delete it"
    if "truncated" in str(error).lower():
        return "is truncated; replace or delete it"
    return f"is damaged ({error}); replace or delete it"
