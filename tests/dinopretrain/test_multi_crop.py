"""The transform: frequencies of draws, shapes, seeds, settings."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dinopretrain.transforms.recipes import dino_views, views_of
from dinopretrain.transforms.view_spec import Drawer
from dinopretrain.transforms.views import MultiCrop
from fastreid.config import CfgNode
from fastreid_compat.repairs.loading.reproducible import SeededIndex, draws_of
from person_pictures import picture
from reid_common.errors import UserError
from reid_core.config import load_config

(FIRST, _), (LOCAL, *_) = dino_views()


def test_frequencies_and_ranges_of_draws() -> None:
    global_views, local_views = dino_views()
    drawer, rng = Drawer([*global_views, *local_views]), np.random.default_rng(0)
    count = 3000
    draws = [drawer((128, 64), rng) for _ in range(count)]
    blurred = [np.mean([views[i].sigma is not None for views in draws]) for i in range(10)]
    assert blurred == pytest.approx([1.0, 0.1, *[0.5] * 8], abs=0.04)
    solarized = [np.mean([views[i].solarize == 128 for views in draws]) for i in range(10)]
    assert solarized == pytest.approx([0, 0.2, *[0] * 8], abs=0.03)
    every = [draw for views in draws for draw in views]
    for values, probability in (
        ([draw.flip for draw in every], 0.5),
        ([bool(draw.jitter) for draw in every], 0.8),
        ([draw.grayscale for draw in every], 0.2),
    ):
        assert np.mean(values) == pytest.approx(probability, abs=0.012)
    sigmas = [draw.sigma for draw in every if draw.sigma is not None]
    assert (min(sigmas), max(sigmas)) == pytest.approx((0.1, 2.0), abs=0.01)
    factors = np.array([[f for _, f in sorted(draw.jitter)] for draw in every if draw.jitter])
    assert factors.min(axis=0) == pytest.approx([0.6, 0.6, 0.8, -0.1], abs=0.01)
    assert factors.max(axis=0) == pytest.approx([1.4, 1.4, 1.2, 0.1], abs=0.01)
    orders = [tuple(number for number, _ in draw.jitter) for draw in every if draw.jitter]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24 and counts == pytest.approx(len(orders) / 24, rel=0.2)


def multi_crop(**options: Any) -> MultiCrop:
    global_views, local_views = dino_views((32, 16), (16, 8), **options)
    return MultiCrop(global_views=global_views, local_views=local_views)


def test_shapes_and_the_image_stays_as_it_is() -> None:
    image = picture(40, 20, seed=7)
    before = image.copy()
    image.flags.writeable = False
    views = multi_crop(num_local=3)(image)
    assert views["global_views"].shape == (2, 32, 16, 3)
    assert views["local_views"].shape == (3, 16, 8, 3)
    assert all(v.dtype == np.uint8 and v.flags.writeable for v in views.values())
    assert (image == before).all()
    assert multi_crop(num_local=0)(image)["local_views"].shape == (0, 0, 0, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_odd_images(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    for _ in range(20):
        assert multi_crop()(image)["global_views"].shape == (2, 32, 16, 3)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all((a[name] == b[name]).all() for name in ("global_views", "local_views"))


def test_the_seed_settles_the_views() -> None:
    image, transform = picture(40, 20, seed=8), multi_crop()
    first = transform(image, np.random.default_rng(1))
    assert same(first, transform(image, np.random.default_rng(1)))
    assert not same(first, transform(image, np.random.default_rng(2)))
    copy = pickle.loads(pickle.dumps(transform))  # as for workers that are spawned
    assert same(first, copy(image, np.random.default_rng(1)))


def test_the_position_in_the_stream_settles_the_views() -> None:
    image, transform = picture(40, 20, seed=8), multi_crop()

    def views(position: int) -> dict[str, np.ndarray]:
        with draws_of(SeededIndex.of(5, seed=1, rank=0, position=position)):
            return transform(image)

    first = views(10)
    np.random.random(3)
    assert same(first, views(10)) and not same(first, views(11))


def test_from_config() -> None:
    cfg = load_config("", ["DINO.LOCAL_VIEWS", 2, "DINO.LOCAL_SIZE", [24, 12]])
    views = MultiCrop(cfg)(picture(40, 20, seed=9))
    assert views["global_views"].shape == (2, *cfg.INPUT.SIZE_TRAIN, 3)
    assert views["local_views"].shape == (2, 24, 12, 3)
    cfg.DINO.CROP_RATIO = [0.4, 0.6]
    assert [spec.ratio for spec in MultiCrop(cfg).draw.specs] == 4 * [(0.4, 0.6)]
    cfg.DINO.COLOR_JITTER, cfg.DINO.COLOR_JITTER_PROB = [0.8, 0.7, 0.6, 0.2], 0.9
    cfg.DINO.GRAYSCALE_PROB = 0.3
    for spec in MultiCrop(cfg).draw.specs:
        jitter = (spec.brightness, spec.contrast, spec.saturation, spec.hue)
        assert (*jitter, spec.jitter_prob, spec.grayscale_prob) == (0.8, 0.7, 0.6, 0.2, 0.9, 0.3)
    cfg.DINO.GLOBAL_SCALE = [0.5, 1.5]
    with pytest.raises(UserError, match=r"scale is \(0.5, 1.5\)"):
        MultiCrop(cfg)


def test_bad_settings_and_images() -> None:
    with pytest.raises(UserError, match=r"blur_prob is 1\.2"):
        replace(FIRST, blur_prob=1.2)
    with pytest.raises(UserError, match=r"hue is 0\.7"):
        replace(FIRST, hue=0.7)
    with pytest.raises(UserError, match=r"size is \(0, 8\)"):
        replace(FIRST, size=(0, 8))
    with pytest.raises(UserError, match="LOCAL_VIEWS is -1"):
        dino_views(num_local=-1)
    with pytest.raises(UserError, match="no global views"):
        MultiCrop(global_views=[])
    with pytest.raises(UserError, match="share one"):
        MultiCrop(global_views=[FIRST, LOCAL])
    with pytest.raises(ValueError, match="float64"):
        multi_crop()(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        multi_crop()(np.zeros((4, 4), np.uint8))


def contrastive_cfg(views: str) -> CfgNode:
    cfg = load_config()
    cfg.MODEL.META_ARCHITECTURE = "MoCoV2"
    cfg.INPUT.SIZE_TRAIN = [32, 16]
    cfg.DINO.GLOBAL_SCALE = [0.2, 1.0]
    cfg.MOCO.VIEWS = views
    return cfg


def test_views_of_contrastive_methods() -> None:
    """What their papers say; all are resized bilinearly, and none is local."""
    (first, second), local_views = views_of(contrastive_cfg("moco_v2"))
    assert first == second and local_views == []
    assert (first.saturation, first.hue, first.jitter_prob) == (0.4, 0.1, 0.8)
    assert (first.blur_prob, first.solarize_prob, first.scale) == (0.5, 0, (0.2, 1.0))
    assert first.interpolation == "bilinear" and first.erase_prob == 0
    (first, second), _ = views_of(contrastive_cfg("moco_v3"))
    assert (first.blur_prob, first.solarize_prob, first.saturation) == (1.0, 0, 0.2)
    assert (second.blur_prob, second.solarize_prob) == (0.1, 0.2)
    (first, second), _ = views_of(contrastive_cfg("luperson"))
    assert (first.jitter_prob, first.grayscale_prob, first.erase_prob) == (0, 0.2, 0.5)
    assert first == second


def test_erasing_leaves_one_colour() -> None:
    """Half of the views, 0.02 to 0.6 of the area; the mean, which is 0 when normalised."""
    cfg = contrastive_cfg("luperson")
    cfg.MODEL.PIXEL_MEAN = [200.0, 10.4, 99.6]
    transform = MultiCrop(cfg)
    image = np.zeros((64, 32, 3), np.uint8)
    rng = np.random.default_rng(0)
    views = np.concatenate([transform(image, rng)["global_views"] for _ in range(100)])
    erased = (views == [200, 10, 100]).all(-1).mean((1, 2))
    assert np.logical_or(erased > 0, (views == 0).all((1, 2, 3))).all()
    some = erased[erased > 0]
    assert 0.35 < len(some) / len(views) < 0.65
    assert some.min() > 0.01 and 0.4 < some.max() < 0.65
