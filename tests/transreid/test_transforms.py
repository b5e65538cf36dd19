"""INPUT.TRANSFORM TransReID: the released steps in the released order, and its noise."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torchvision.transforms as tv
from device_waits import counted
from fastreid.data import build_reid_train_loader
from fastreid.data.transforms import ToTensor, build_transforms
from fastreid_compat.repairs.loading.reproducible import SeededIndex, draws_of, skip_batches
from PIL import Image
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.run.validation import validate_config
from timm.data.random_erasing import RandomErasing
from transreid.data.erasing import Rectangle, draw_rectangle
from transreid.data.transforms import NOT_RELEASED, NoiseErasing

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]


@pytest.fixture
def cfg():
    cfg = load_config()
    cfg.INPUT.TRANSFORM = "TransReID"
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [64, 32]
    for switch in ("FLIP", "PADDING", "REA"):
        cfg.INPUT[switch].ENABLED = True
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = MEAN, STD
    return cfg


def photo(size: tuple[int, int] = (50, 90)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def seed_all(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)


def normalised(image: torch.Tensor) -> torch.Tensor:
    """What the model makes of pixels 0..255."""
    return (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def test_the_order_is_the_released_one(cfg) -> None:
    steps = build_transforms(cfg, is_train=True).transforms
    names = [type(step).__name__ for step in steps]
    flip = ["Resize", "RandomHorizontalFlip", "Pad", "RandomCrop"]
    assert names == [*flip, "ToTensor", "NoiseErasing"]
    resize, flip, pad, crop, _, erase = steps
    assert resize.interpolation == tv.InterpolationMode.BICUBIC
    assert list(resize.size) == list(crop.size) == [64, 32]
    assert (flip.p, erase.probability) == (0.5, 0.5)
    assert (pad.padding, pad.fill, pad.padding_mode) == (10, 0, "constant")


def test_the_pipeline_equals_the_released_one_on_normalised_tensors(cfg) -> None:
    """Released: tensors 0..1, normalised, then timm's erasing in place, with the same draws."""
    mean, std = [[value / 255 for value in values] for values in (MEAN, STD)]
    released = tv.Compose(
        [
            tv.Resize([64, 32], interpolation=tv.InterpolationMode.BICUBIC),
            tv.RandomHorizontalFlip(p=0.5),
            tv.Pad(10),
            tv.RandomCrop([64, 32]),
            tv.ToTensor(),
            tv.Normalize(mean=mean, std=std),
            RandomErasing(probability=0.5, mode="pixel", max_count=1, device="cpu"),
        ]
    )
    ours = build_transforms(cfg, is_train=True)
    for seed in range(20):
        seed_all(seed)
        expected = released(photo())
        seed_all(seed)
        image = ours(photo())
        assert image.shape == (3, 64, 32) and image.dtype == torch.float32
        torch.testing.assert_close(normalised(image), expected, atol=1e-5, rtol=1e-5)


def test_the_test_pipeline_resizes_bilinearly_and_does_nothing_else(cfg) -> None:
    image = build_transforms(cfg, is_train=False)(photo())
    assert torch.equal(image, ToTensor()(photo().resize((32, 64), Image.Resampling.BILINEAR)))


def test_erased_pixels_are_standard_normal_once_normalised() -> None:
    seed_all(3)
    erase = NoiseErasing(1.0, MEAN, STD)
    blank = torch.full((3, 256, 128), -1000.0)
    noise = [[], [], []]
    for _ in range(40):
        image = erase(blank)
        erased = image[0] != -1000
        assert 0.015 < erased.float().mean() < 0.34  # of the area: 2% to a third
        rows, columns = erased.any(1).sum(), erased.any(0).sum()
        assert erased.sum() == rows * columns  # one rectangle
        for channel, values in enumerate(normalised(image)):
            noise[channel].append(values[erased])
    assert (blank == -1000).all()  # the caller's image stays
    for channel in noise:
        values = torch.cat(channel)
        assert len(values) > 50_000  # so that a standard error is below 0.005
        assert values.mean().item() == pytest.approx(0.0, abs=0.02)
        assert values.std().item() == pytest.approx(1.0, abs=0.02)


def test_half_of_the_images_are_erased(cfg) -> None:
    seed_all(0)
    image = torch.zeros(3, 64, 32)
    erase = NoiseErasing(0.5, MEAN, STD)
    count = sum(bool(erase(image).any()) for _ in range(400))
    assert 150 < count < 250  # 5 standard deviations of 10


def test_steps_can_be_switched_off(cfg) -> None:
    for switch in ("FLIP", "PADDING", "REA"):
        cfg.INPUT[switch].ENABLED = False
    image = build_transforms(cfg, is_train=True)(photo())
    assert torch.equal(image, ToTensor()(photo().resize((32, 64), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("switch", NOT_RELEASED)
@pytest.mark.parametrize("is_train", [True, False])
def test_steps_that_it_does_not_have_are_refused(cfg, switch: str, is_train: bool) -> None:
    cfg.INPUT[switch].ENABLED = True
    message = f"INPUT.{switch}.ENABLED is True.*INPUT.TRANSFORM FastReID"
    with pytest.raises(UserError, match=message):
        build_transforms(cfg, is_train)
    with pytest.raises(UserError, match=message):
        validate_config(cfg, eval_only=not is_train)


def test_draws_repeat_for_the_same_place_in_the_stream(cfg) -> None:
    cfg.INPUT.REA.PROB = 1.0
    augment = build_transforms(cfg, is_train=True)

    def drawn(position: int) -> torch.Tensor:
        with draws_of(SeededIndex.of(0, seed=1, rank=0, position=position)):
            return augment(photo())

    assert torch.equal(drawn(4), drawn(4))
    assert not torch.equal(drawn(4), drawn(5))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_repeat_batches_for_a_seed(transreid_cfg, num_workers: int) -> None:
    cfg = transreid_cfg
    cfg.INPUT.TRANSFORM, cfg.DATALOADER.NUM_WORKERS = "TransReID", num_workers
    cfg.INPUT.FLIP.ENABLED = cfg.INPUT.PADDING.ENABLED = cfg.INPUT.REA.ENABLED = True

    def first_batch() -> torch.Tensor:
        return next(iter(build_reid_train_loader(cfg)))["images"]

    batch = first_batch()
    assert batch.shape == (8, 3, 64, 32)
    assert torch.equal(batch, first_batch())
    cfg.DATALOADER.NUM_WORKERS = 1
    assert torch.equal(batch, first_batch())


@pytest.fixture
def loading(transreid_cfg):
    """A config whose training images are all flipped at random, cropped and erased."""
    cfg = transreid_cfg
    cfg.INPUT.TRANSFORM, cfg.INPUT.REA.PROB, cfg.INPUT.ON_DEVICE = "TransReID", 0.7, True
    cfg.INPUT.FLIP.ENABLED = cfg.INPUT.PADDING.ENABLED = cfg.INPUT.REA.ENABLED = True
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = MEAN, STD
    return cfg


def batches(cfg, count: int, first: int = 0) -> list[torch.Tensor]:
    """Images of some batches of a new loader."""
    loader = build_reid_train_loader(cfg)
    skip_batches(loader, first)
    stream = iter(loader)
    return [next(stream)["images"] for _ in range(count)]


def test_on_the_device_only_the_noise_is_another(loading) -> None:
    """Of the same samples: flips, crops and rectangles are equal, bit for bit."""
    on_device = torch.cat(batches(loading, 3))
    loading.INPUT.ON_DEVICE = False
    on_host = torch.cat(batches(loading, 3))
    assert on_device.shape == on_host.shape == (24, 3, 64, 32)
    assert on_device.dtype == torch.float32 and on_device.is_contiguous()
    erased = 0
    for ours, theirs in zip(on_device, on_host, strict=True):
        differs = (ours != theirs).any(0)
        rows, columns = differs.any(1), differs.any(0)
        assert differs.sum() == rows.sum() * columns.sum()  # one rectangle
        erased += bool(differs.any())
        assert bool(differs.any()) or ours.max() <= 255  # else noise would be left
    assert 10 <= erased < 24


@pytest.mark.parametrize("num_workers", [0, 2])
def test_on_the_device_batches_repeat_and_resume(loading, num_workers: int) -> None:
    loading.DATALOADER.NUM_WORKERS = num_workers
    first = batches(loading, 3)
    assert torch.equal(torch.stack(batches(loading, 2, first=1)), torch.stack(first[1:]))
    assert not torch.equal(first[0], first[1])


def test_noise_of_a_batch_is_standard_normal_and_waits_for_nothing() -> None:
    seed_all(3)
    images = torch.full((40, 3, 64, 32), -1000.0)
    drawn = [draw_rectangle((64, 32), 0.9) for _ in images]
    erase = NoiseErasing(0.9, MEAN, STD)
    with counted() as operators:
        out = erase.on_batch(images, torch.tensor(drawn), seed=5)
    assert operators.waits == {"lift_fresh": 1}  # of this test's own torch.tensor
    assert (images == -1000).all() and Rectangle() in drawn
    for image, (top, left, height, width) in zip(out, drawn, strict=True):
        expected = torch.zeros(64, 32, dtype=torch.bool)
        expected[top : top + height, left : left + width] = True
        assert torch.equal((image != -1000).all(0), expected)
    for channel, values in enumerate(normalised(out).unbind(1)):
        noise = values[out[:, channel] != -1000]
        assert len(noise) > 8000  # so that a standard error is below 0.012
        assert noise.mean().item() == pytest.approx(0.0, abs=0.05)
        assert noise.std().item() == pytest.approx(1.0, abs=0.05)


def test_without_erasing_images_travel_as_bytes_all_the_same(loading) -> None:
    loading.INPUT.REA.ENABLED = False
    sample = build_transforms(loading, is_train=True)(photo())
    assert list(sample) == ["images"] and sample["images"].dtype == torch.uint8
    (on_device,) = batches(loading, 1)
    loading.INPUT.ON_DEVICE = False
    assert torch.equal(on_device, batches(loading, 1)[0])


def test_other_pipelines_do_not_finish_on_the_device(cfg) -> None:
    cfg.INPUT.TRANSFORM, cfg.INPUT.ON_DEVICE = "FastReID", True
    with pytest.raises(UserError, match=r"ON_DEVICE is True.*FastReID does not.*TransReID"):
        validate_config(cfg)
    validate_config(cfg, eval_only=True)
