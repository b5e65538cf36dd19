"""Each colour operation and the blur against torchvision and PIL with the same parameter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torchvision.transforms.functional as tv
from dinopretrain.transforms import colour
from dinopretrain.transforms.blur import extended_box, gaussian_blur
from person_pictures import picture
from PIL import Image, ImageFilter

IMAGES = [picture(60, 40, seed) for seed in range(4)]


def differences(ours: np.ndarray, theirs: Image.Image) -> np.ndarray:
    return ours.astype(int) - np.asarray(theirs)


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (colour.adjust_brightness, tv.adjust_brightness, (0.6, 0.83, 1.0, 1.4)),
        (colour.adjust_contrast, tv.adjust_contrast, (0.6, 0.83, 1.0, 1.4)),
        (colour.adjust_saturation, tv.adjust_saturation, (0.0, 0.8, 0.93, 1.0, 1.2)),
    ],
)
def test_blending(
    ours: Callable[[np.ndarray, float], np.ndarray],
    theirs: Callable[[Image.Image, float], Image.Image],
    factors: tuple[float, ...],
) -> None:
    for image in IMAGES:
        for factor in factors:
            before = image.copy()
            difference = differences(ours(image, factor), theirs(Image.fromarray(image), factor))
            assert np.abs(difference).max() <= 1
            assert abs(difference.mean()) < 0.6
            assert (image == before).all()


def test_factor_one_changes_nothing() -> None:
    for image in IMAGES:
        for operation in colour.JITTER[:3]:
            assert (operation(image, 1.0) == image).all()


@pytest.mark.parametrize("factor", [-0.5, -0.1, -0.03, 0.0, 0.05, 0.1])
def test_hue(factor: float) -> None:
    for image in IMAGES:
        result = colour.adjust_hue(image, factor)
        difference = differences(result, tv.adjust_hue(Image.fromarray(image), factor))
        # Both go through 8-bit hue and saturation, rounding here and cutting off there.
        assert np.abs(difference).max() <= 14
        assert np.abs(difference).mean() < 1.2
        assert abs(difference.mean()) < 0.6


def test_hue_by_hand() -> None:
    red = np.full((1, 1, 3), (200, 0, 0), np.uint8)
    green, blue = colour.adjust_hue(red, 1 / 3 + 0.001), colour.adjust_hue(red, -1 / 3)
    assert np.abs(green.astype(int) - (0, 200, 0)).max() <= 5
    assert np.abs(blue.astype(int) - (0, 0, 200)).max() <= 5


def test_grayscale() -> None:
    for image in IMAGES:
        expected = tv.rgb_to_grayscale(Image.fromarray(image), num_output_channels=3)
        assert np.abs(differences(colour.to_grayscale(image), expected)).max() <= 1


@pytest.mark.parametrize("threshold", [0, 128, 200, 256])
def test_solarize(threshold: int) -> None:
    for image in IMAGES:
        expected = tv.solarize(Image.fromarray(image), threshold)
        assert (differences(colour.solarize(image, threshold), expected) == 0).all()


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 0.8, 0.98, 1.4, 1.42, 1.7, 2.0])
def test_blur(sigma: float) -> None:
    for image in IMAGES:
        expected = Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma))
        difference = differences(gaussian_blur(image, sigma), expected)
        # Rounded six times by PIL, twice here; only above 1.41 do the borders differ as well.
        assert np.abs(difference[6:-6, 6:-6] if sigma > 1.41 else difference).max() <= 6
        assert np.abs(difference).mean() < 1
        assert abs(difference.mean()) < 0.2


def test_blur_writes_where_it_is_told() -> None:
    image, views = IMAGES[0], np.zeros((2, *IMAGES[0].shape), np.uint8)
    gaussian_blur(image, 1.0, views[1])
    assert (views[1] == gaussian_blur(image, 1.0)).all() and not views[0].any()


def test_blur_keeps_a_plain_image() -> None:
    image = np.full((9, 9, 3), 200, np.uint8)
    for sigma in np.arange(0.0, 2.5, 0.01):
        assert (gaussian_blur(image, sigma) == 200).all()


@pytest.mark.parametrize("variance", [0.0, 0.003, 0.5, 2 / 3, 1.0, 4 / 3, 3.0])
def test_extended_box_has_its_variance(variance: float) -> None:
    box = extended_box(variance)
    at = np.arange(len(box)) - len(box) // 2
    assert box.sum() == pytest.approx(1)
    assert (box * at**2).sum() == pytest.approx(variance)
    assert (box >= 0).all() and box[0] <= box[len(box) // 2]
