"""Every augmentation switch of INPUT, conversion to tensors, helpers of AutoAugment and AugMix."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from fastreid.data import build_reid_test_loader, build_reid_train_loader
from fastreid.data.transforms import ToTensor, autoaugment, build, build_transforms, functional
from fastreid_compat.repairs.loading.transforms import TRANSFORM_REGISTRY
from PIL import Image
from reid_common.errors import UserError
from reid_core.run.validation import validate_config


def photo(mode="RGB", size=(32, 64)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


SWITCHES = ["CROP", "FLIP", "PADDING", "CJ", "AFFINE", "AUTOAUG", "AUGMIX", "REA", "RPT"]


@pytest.mark.parametrize("switch", SWITCHES)
def test_switch_of_the_config(switch):
    cfg = get_cfg()
    cfg.INPUT.SIZE_TRAIN = [64, 32]
    cfg.INPUT.CROP.SIZE = [64, 32]
    node = cfg.INPUT[switch]
    node.ENABLED = True
    if "PROB" in node:
        node.PROB = 1.0
    augment = build_transforms(cfg, is_train=True)
    plain = ToTensor()(photo())
    images = [augment(photo()) for _ in range(120)]  # RPT starts with its 100th patch
    for image in images:
        assert image.shape == (3, 64, 32) and image.dtype == torch.float32
    assert any(not torch.equal(image, plain) for image in images)


def test_all_switches_at_once():
    cfg = get_cfg()
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.CROP.SIZE = [64, 32]
    for switch in SWITCHES:
        cfg.INPUT[switch].ENABLED = True
    assert build_transforms(cfg, is_train=True)(photo()).shape == (3, 64, 32)
    assert build_transforms(cfg, is_train=False)(photo()).shape == (3, 64, 32)


def test_a_pipeline_by_name(tiny_cfg, monkeypatch):
    calls = []

    def pipeline(cfg, is_train):
        calls.append(is_train)
        return lambda image: torch.full((3, 4, 4), 7.0 + is_train)

    monkeypatch.setitem(TRANSFORM_REGISTRY._obj_map, "Sevens", pipeline)
    tiny_cfg.INPUT.TRANSFORM = "Sevens"
    validate_config(tiny_cfg)
    assert calls == [False, True]
    batch = next(iter(build_reid_train_loader(tiny_cfg)))
    assert batch["images"].shape == (8, 3, 4, 4) and (batch["images"] == 8).all()
    loader, _ = build_reid_test_loader(tiny_cfg, dataset_name="Market1501")
    assert (next(iter(loader))["images"] == 7).all()


def test_fastreids_pipeline_is_the_default():
    cfg = get_cfg()
    released = TRANSFORM_REGISTRY.get("FastReID")(cfg, True)
    assert repr(build_transforms(cfg, is_train=True)) == repr(released)
    del cfg.INPUT["TRANSFORM"]  # a config that was saved before there was the key
    assert repr(build_transforms(cfg)) == repr(released)


def test_an_unknown_pipeline_lists_the_known_ones(tiny_cfg):
    tiny_cfg.INPUT.TRANSFORM = "fastreid"
    with pytest.raises(UserError, match=r"INPUT.TRANSFORM: 'fastreid'.*mean 'FastReID'"):
        validate_config(tiny_cfg)


def test_affine_keeps_former_defaults():
    affine = build.T.RandomAffine(degrees=10, resample=False, fillcolor=7)
    assert affine.interpolation == build.T.InterpolationMode.NEAREST
    assert affine.fill == 7
    bilinear = build.T.RandomAffine(degrees=10, resample=2)
    assert bilinear.interpolation == build.T.InterpolationMode.BILINEAR


@pytest.mark.parametrize(
    ("mode", "channels", "dtype"),
    [
        ("RGB", 3, torch.float32),
        ("L", 1, torch.float32),
        ("LA", 2, torch.float32),
        ("P", 1, torch.float32),
        ("RGBA", 4, torch.float32),
        ("YCbCr", 3, torch.float32),
        ("CMYK", 4, torch.float32),
        ("1", 1, torch.float32),
        ("I", 1, torch.int32),
        ("F", 1, torch.float32),
    ],
)
def test_to_tensor(mode, channels, dtype):
    image = photo(mode)
    tensor = functional.to_tensor(image)
    assert tensor.shape == (channels, 64, 32) and tensor.dtype == dtype
    pixel = image.getpixel((5, 9))
    expected = list(pixel) if isinstance(pixel, tuple) else [pixel]
    assert tensor[:, 9, 5].tolist() == expected


def test_to_tensor_of_16_bits():
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
    tensor = ToTensor()(Image.fromarray(values))
    assert tensor.dtype == torch.int16
    assert tensor[0].tolist() == values.tolist()


def test_to_tensor_of_arrays():
    pixels = np.asarray(photo())
    assert torch.equal(functional.to_tensor(pixels), functional.to_tensor(photo()))
    assert functional.to_tensor(pixels[..., 0]).shape == (1, 64, 32)
    assert functional.to_tensor(pixels.astype(np.float64)).dtype == torch.float64
    with pytest.raises(ValueError, match="this array is"):
        functional.to_tensor(np.zeros(3))


def test_to_tensor_does_not_warn_and_owns_its_memory():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = photo()
        functional.to_tensor(image).fill_(0)
    assert np.asarray(image).any()


@pytest.mark.parametrize("policy", ["original", "originalr", "v0", "v0r"])
def test_auto_augment_helper(policy):
    augment = autoaugment.auto_augment_transform(policy, {})
    for _ in range(60):  # each draws one of 25 sub-policies
        assert augment(photo()).size == (32, 64)


def test_posterize_keeps_the_highest_bits():
    image = Image.new("RGB", (1, 1), (0b10110111, 255, 1))
    assert autoaugment.posterize(image, 3).getpixel((0, 0)) == (0b10100000, 0b11100000, 0)
    assert autoaugment.posterize(image, 0).getpixel((0, 0)) == (0, 0, 0)
    assert autoaugment.posterize(image, 8) is image


@pytest.mark.parametrize("config", ["augmix-m5-w2-d2", "augmix-m3-b1"])
def test_augment_and_mix_helper(config):
    augment = autoaugment.augment_and_mix_transform(config, {})
    assert augment(photo()).size == (32, 64)
