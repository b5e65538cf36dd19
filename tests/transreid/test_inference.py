"""FeatureExtractor: the features of the evaluation, for any image, without a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastreid.engine import DefaultTrainer
from PIL import Image
from reid_common.errors import UserError
from small_inference import (
    DIM,
    PARTS,
    picture,
    small_cfg,
    write_bad_images,
    write_config,
    write_model,
    write_odd_images,
)
from transreid import FeatureExtractor, resolve_side_information
from transreid.inference.image_inputs import to_rgb
from transreid.training import model_with
from transreid.weights.formats import side_information_of_weights
from transreid.weights.released import to_released


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return write_model(tmp_path_factory.mktemp("weights"), small_cfg())


@pytest.fixture(scope="module")
def extractor(weights) -> FeatureExtractor:
    return FeatureExtractor(small_cfg(), weights, device="cpu", batch_size=3)


@pytest.mark.parametrize("flip", [False, True])
def test_features_are_those_of_the_evaluation(
    market_root, monkeypatch, weights, tmp_path, flip
) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    names = {"DATASETS__NAMES": "('Market1501',)", "DATASETS__TESTS": "('Market1501',)"}
    cfg = small_cfg(TEST__FLIP__ENABLED=flip, MODEL__WEIGHTS=weights, **names)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.TEST.IMS_PER_BATCH = 8
    file = write_config(tmp_path, cfg)
    resolve_side_information(cfg, side_information_of_weights(cfg))
    model = model_with(cfg, weights).eval()
    loader, _ = DefaultTrainer.build_test_loader(cfg, "Market1501")
    # The user's side has the files alone.
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "nothing"))
    extractor = FeatureExtractor(file, device="cpu", batch_size=5)
    with torch.no_grad():
        for batch in loader:
            expected = model(batch)
            if flip:
                expected = (expected + model({**batch, "images": batch["images"].flip(3)})) / 2
            found = extractor(batch["img_paths"], batch["camids"], batch["viewids"])
            torch.testing.assert_close(found, F.normalize(expected), rtol=1e-5, atol=1e-6)


def test_every_kind_of_image_gives_the_same_feature(extractor, tmp_path) -> None:
    pixels = picture(0, (50, 30))
    file = tmp_path / "image.png"
    Image.fromarray(pixels).save(file)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    images = [str(file), file, Image.fromarray(pixels), pixels, tensor]
    images.append((tensor.float() - 0.25).clamp(min=0))  # fractions are rounded
    features = extractor(images, camids=1)
    assert features.shape == (len(images), (PARTS + 1) * DIM)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(images)))
    torch.testing.assert_close(features, features[:1].expand_as(features))
    for one in images:
        torch.testing.assert_close(extractor(one, camids=[1]), features[:1])
    many = [pixels[None].repeat(2, 0), tensor[None].repeat(2, 1, 1, 1)]
    for batch in many:
        torch.testing.assert_close(extractor(batch, camids=1), features[:2])
    grey = pixels[:, :, 0]
    torch.testing.assert_close(extractor(grey), extractor(np.dstack([grey] * 3)))


def test_no_image_gives_no_feature(extractor) -> None:
    assert extractor([]).shape == (0, extractor.feature_dim)


def test_files_and_opened_images_are_read_alike(tmp_path) -> None:
    files = write_odd_images(tmp_path)
    for name, file in files.items():
        read = np.asarray(to_rgb(file))
        assert read.shape[2] == 3, name
        with Image.open(file) as image:
            np.testing.assert_array_equal(np.asarray(to_rgb(image)), read, err_msg=name)
    np.testing.assert_array_equal(np.asarray(to_rgb(files["png"])), picture(1, (70, 41)))
    # 6 = the first column of the stored picture is its upper edge, read from below.
    upright = np.rot90(picture(9, (40, 80)), k=-1)
    np.testing.assert_array_equal(np.asarray(to_rgb(files["turned"])), upright)
    np.testing.assert_array_equal(np.asarray(to_rgb(files["rgba"])), picture(4))
    grey = np.dstack([picture(7)[:, :, 0]] * 3)  # 257 * x in 16 bits is x in 8
    np.testing.assert_array_equal(np.asarray(to_rgb(files["sixteen"])), grey)


def test_batch_size_and_order_do_not_matter(extractor, tmp_path) -> None:
    files = list(write_odd_images(tmp_path).values())
    together = extractor(files)
    alone = torch.cat([extractor(file) for file in reversed(files)]).flip(0)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_global_only_is_the_first_part_and_skips_the_local_branch(weights, extractor) -> None:
    short = FeatureExtractor(small_cfg(), weights, device="cpu", global_only=True)
    calls = []
    short.model.heads.local_branch.register_forward_hook(lambda *_: calls.append(1))
    images = [picture(seed) for seed in range(3)]
    full = extractor(images, [0, 1, 2])
    torch.testing.assert_close(short(images, [0, 1, 2]), F.normalize(full[:, :DIM]))
    assert short.feature_dim == DIM
    assert not calls


def test_global_only_after_the_neck(weights, extractor) -> None:
    options = ["MODEL.HEADS.TEST_NECK_FEAT", "after"]
    short, full = (
        FeatureExtractor(small_cfg(), weights, device="cpu", global_only=flag, options=options)
        for flag in (True, False)
    )
    image = picture(0)
    torch.testing.assert_close(short(image), F.normalize(full(image)[:, :DIM]))
    assert not torch.allclose(short(image), extractor(image)[:, :DIM])


def test_training_ignores_global_only() -> None:
    cfg = small_cfg(MODEL__SIE__CAMERA=False)
    extractor = FeatureExtractor(cfg, "", device="cpu", global_only=True, allow_random_weights=True)
    head = extractor.model.heads.train()
    outputs = head(torch.randn(2, 9, DIM), torch.zeros(2, dtype=torch.int64))
    assert len(outputs["local"]) == PARTS


def test_unknown_cameras_follow_the_policy(weights, extractor) -> None:
    image = picture(0)
    unknown = extractor([image] * 4, [None, -1, -7, 0])
    torch.testing.assert_close(unknown[:3], extractor(image).expand(3, -1))
    assert not torch.allclose(unknown[0], unknown[3], atol=1e-3)
    strict = FeatureExtractor(small_cfg(MODEL__SIE__UNKNOWN="error"), weights, device="cpu")
    assert strict(image, 2).shape == strict(image, [2]).shape
    with pytest.raises(UserError, match="camids"):
        strict(image)


def test_side_information_sizes_come_from_the_weights(tmp_path) -> None:
    cfg = small_cfg(MODEL__SIE__VIEW=True)
    path = write_model(tmp_path, cfg, num_cameras=3, num_views=2)
    # Six rows may be 3 x 2 or 2 x 3.
    with pytest.raises(UserError, match=r"MODEL\.SIE\.NUM_\w+ is open"):
        FeatureExtractor(cfg, path, device="cpu")
    extractor = FeatureExtractor(cfg, path, device="cpu", options=["MODEL.SIE.NUM_VIEWS", 2])
    assert extractor.cfg.MODEL.SIE.NUM_CAMERAS == 3
    image = picture(0)
    assert not torch.allclose(extractor(image, 0, 0), extractor(image, 0, 1), atol=1e-3)
    assert cfg.MODEL.SIE.NUM_CAMERAS == 0, "the caller's config must stay as it is"

    cfg.DATASETS.CAMERAS = ("market1501:2", "msmt17:1")
    path = write_model(tmp_path, cfg, num_cameras=3, num_views=2)
    cfg.DATASETS.CAMERAS = ()
    named = FeatureExtractor(cfg, path, device="cpu")
    assert named.cameras == ("market1501:2", "msmt17:1")
    assert (named.cfg.MODEL.SIE.NUM_CAMERAS, named.cfg.MODEL.SIE.NUM_VIEWS) == (3, 2)


def test_weights_in_the_released_form(weights, extractor, tmp_path) -> None:
    """They name no cameras: the table's rows say how many there are."""
    released = to_released(torch.load(weights, weights_only=True)["model"])
    torch.save(released, tmp_path / "released.pth")
    found = FeatureExtractor(small_cfg(), tmp_path / "released.pth", device="cpu")
    assert (found.cfg.MODEL.SIE.NUM_CAMERAS, found.cameras) == (3, ())
    images = [picture(0), picture(1)]
    torch.testing.assert_close(found(images, [2, None]), extractor(images, [2, None]))


def test_a_model_of_fastreid_itself(tmp_path) -> None:
    cfg = small_cfg(MODEL__META_ARCHITECTURE="Baseline", MODEL__SIE__CAMERA=False)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = "build_resnet_backbone", "18x"
    cfg.MODEL.HEADS.NAME, cfg.MODEL.BACKBONE.FEAT_DIM = "EmbeddingHead", 512
    path = write_model(tmp_path, cfg)
    features = FeatureExtractor(cfg, path, device="cpu")(picture(0), camids=4)
    images = torch.from_numpy(picture(0)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        expected = F.normalize(model_with(cfg, path).eval()({"images": images}))
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(weights, extractor, precision) -> None:
    half = FeatureExtractor(small_cfg(), weights, device="cpu", precision=precision)
    images = [picture(0), picture(1)]
    found = half(images)
    assert found.dtype == torch.float32
    assert (found * extractor(images)).sum(1).min() > 0.999


def test_what_cannot_be_is_refused(weights, extractor, tmp_path) -> None:
    image = picture(0)
    bad = write_bad_images(tmp_path)
    cases = [
        (lambda: FeatureExtractor(small_cfg(), ""), "random weights"),
        (lambda: FeatureExtractor(small_cfg(), "nowhere.pth"), "no checkpoint 'nowhere.pth'"),
        (lambda: FeatureExtractor("nowhere.yml", weights), "nowhere.yml"),
        (lambda: FeatureExtractor(small_cfg(), weights, device="warp"), "device 'warp'"),
        (lambda: FeatureExtractor(small_cfg(), weights, batch_size=0), "batch_size is 0"),
        (lambda: FeatureExtractor(small_cfg(), weights, precision="int8"), "'int8'"),
        (lambda: extractor(image, camids=3), r"camids holds 3, but the model knows 0\.\.2"),
        (lambda: extractor([image, image], camids=[0]), "1 ids for 2 images"),
        (lambda: extractor(image, camids=[0.5]), "0.5"),
        (lambda: extractor("nowhere.jpg"), "nowhere.jpg"),
        (lambda: extractor([image, bad["truncated"]]), "bad_truncated.jpg' is truncated"),
        (lambda: extractor(bad["empty"]), "is an empty file"),
        (lambda: extractor([image, image / 255]), "image 1: an array .* of float64"),
        (lambda: extractor(torch.rand(3, 64, 32)), "looks like 0..1"),
        (lambda: extractor(torch.full((3, 64, 32), -5.0)), "holds -5"),
        (lambda: extractor(torch.full((3, 64, 32), float("nan"))), "holds nan"),
        (lambda: extractor(torch.zeros(5, 64, 32)), r"tensor \(5, 64, 32\)"),
        (lambda: extractor([17]), "image 0: a int is no image"),
    ]
    for call, message in cases:
        with pytest.raises(UserError, match=message):
            call()


def test_paths_and_strings_are_one_image_each(extractor, tmp_path) -> None:
    file = tmp_path / "one.png"
    Image.fromarray(picture(0)).save(file)
    assert extractor(str(file)).shape == extractor(Path(file)).shape == (1, extractor.feature_dim)
