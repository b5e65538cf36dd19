"""Image files become upright RGB arrays, or an error that says why not."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from dinopretrain.transforms.decode import decode_image
from person_pictures import picture
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


FORMATS = {
    "JPEG": ("RGB", "L", "CMYK", "1"),
    "PNG": ("RGB", "L", "P", "RGBA", "1"),
    "WebP": ("RGB", "L", "P", "RGBA", "1"),
    "BMP": ("RGB", "L", "P", "1"),
    "GIF": ("RGB", "L", "P", "RGBA"),
}


@pytest.mark.parametrize(("kind", "mode"), [(k, m) for k, modes in FORMATS.items() for m in modes])
def test_formats_and_modes(kind: str, mode: str) -> None:
    data = encoded(Image.fromarray(picture(30, 20, seed=0)).convert(mode), kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    image = decode_image(data)
    assert image.shape == (30, 20, 3) and image.dtype == np.uint8
    assert np.abs(image - expected).mean() < 2


def test_orientation() -> None:
    upright = picture(30, 20, seed=1)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    lying = Image.fromarray(np.rot90(upright))
    for kind in ("JPEG", "PNG"):
        image = decode_image(encoded(lying, kind, exif=exif))
        assert image.shape == upright.shape
        assert np.abs(image.astype(int) - upright).mean() < 16


def test_refused_with_a_reason() -> None:
    whole = encoded(Image.fromarray(picture(60, 40, seed=2)), "JPEG")
    for data, reason in (
        (b"", "empty file"),
        (b"<html>404</html>", "not an image"),
        (whole[: len(whole) // 2], "truncated"),
        (whole[:3], "not an image"),
        (bytes(5000), "not an image"),
    ):
        with pytest.raises(ValueError, match=reason):
            decode_image(data)
