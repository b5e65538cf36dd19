"""Crops are distributed as torchvision's, the resize gives PIL's pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dinopretrain.transforms.geometry import DRAWS, central_crop, random_crops, resize
from person_pictures import picture
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

RATIO = (3 / 4, 4 / 3)
COUNT = 3000


def our_crops(size: tuple[int, int], scale: tuple[float, float], count: int) -> np.ndarray:
    uniforms = np.random.default_rng(0).random((count, DRAWS))
    log_ratio = np.log(RATIO)
    return random_crops(uniforms, size, np.tile(scale, (count, 1)), np.tile(log_ratio, (count, 1)))


def torchvision_crops(size: tuple[int, int], scale: tuple[float, float], count: int) -> np.ndarray:
    torch.manual_seed(0)
    image = torch.empty(3, *size)
    params = (RandomResizedCrop.get_params(image, list(scale), list(RATIO)) for _ in range(count))
    return np.array(list(params))


def statistics(crops: np.ndarray) -> dict[str, np.ndarray]:
    top, left, height, width = crops.T
    return {
        "area": height * width,
        "aspect": width / height,
        "centre x": left + width / 2,
        "centre y": top + height / 2,
    }


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (100, 300), (50, 50)])
@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.05, 0.4)])
def test_distribution_of_crops(size: tuple[int, int], scale: tuple[float, float]) -> None:
    ours = statistics(our_crops(size, scale, COUNT))
    theirs = statistics(torchvision_crops(size, scale, COUNT))
    for name, values in ours.items():
        assert ks_2samp(values, theirs[name]).pvalue > 1e-3, name


def test_another_scale_is_noticed() -> None:
    ours = statistics(our_crops((128, 64), (0.05, 0.35), COUNT))["area"]
    theirs = statistics(torchvision_crops((128, 64), (0.05, 0.4), COUNT))["area"]
    assert ks_2samp(ours, theirs).pvalue < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 400), (400, 1), (7, 5), (128, 64)])
def test_crops_lie_in_the_image(size: tuple[int, int]) -> None:
    crops = our_crops(size, (0.05, 1.0), 500)
    assert (crops[:, :2] >= 0).all() and (crops[:, 2:] >= 1).all()
    assert (crops[:, :2] + crops[:, 2:] <= size).all()


def test_crops_reach_the_last_row_and_column() -> None:
    crops = our_crops((20, 20), (0.2, 0.4), 2000)
    assert (crops[:, :2].min(axis=0) == 0).all()
    assert ((crops[:, :2] + crops[:, 2:]).max(axis=0) == 20).all()


def test_central_crop_by_hand() -> None:
    # 128 x 64 is narrower than 3:4, so 64 / 0.75 = 85 rows; (128 - 85) // 2 = 21 above.
    assert central_crop((128, 64), RATIO) == (21, 0, 85, 64)
    # 60 x 100 is wider than 4:3, so 60 * 4 / 3 = 80 columns, 10 beside.
    assert central_crop((60, 100), RATIO) == (0, 10, 60, 80)
    assert central_crop((60, 60), RATIO) == (0, 0, 60, 60)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((85, 64), (256, 128)),  # larger
        ((200, 128), (128, 64)),  # smaller: antialiasing
        ((128, 40), (64, 64)),  # one side each
        ((1, 1), (8, 4)),
        ((37, 29), (37, 29)),
    ],
)
def test_resize_gives_the_pixels_of_pil(source: tuple[int, int], target: tuple[int, int]) -> None:
    image = picture(*source, seed=1)
    # Rows first; Pillow 12 and later choose the order that costs less.
    expected = Image.fromarray(image)
    for size in ((target[1], source[0]), target[::-1]):
        expected = expected.resize(size, Image.Resampling.BICUBIC)
    difference = np.abs(resize(image, target).astype(int) - np.asarray(expected))
    assert difference.max() <= 2 and difference.mean() < 0.05


def test_resize_of_a_part_of_a_read_only_image(recwarn: pytest.WarningsRecorder) -> None:
    image = picture(60, 40, seed=2)
    expected = resize(image[5:50, 3:30].copy(), (64, 32))
    image.flags.writeable = False
    result = resize(image[5:50, 3:30], (64, 32))
    assert (result == expected).all() and result.flags.c_contiguous
    assert not recwarn.list
