"""Scores are those of a naive loop, for any model and checkpoint; bad images and models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cfs.images.listing import open_listing
from cfs.scores.reading import read_scores
from cfs.scores.shards import read_reasons
from cfs.scoring import scoring
from cfs.scoring.models import build_pair, cosines
from cfs.scoring.options import ScoringOptions
from cfs.scoring.scoring import score_images
from fastreid.data import build as data_build
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.checkpoint import Checkpointer
from PIL import Image
from reid_common.errors import UserError
from small_inference import write_bad_images
from small_scoring import (
    NUM_IMAGES,
    resnet_cfg,
    score,
    vit_cfg,
    write_pool,
    write_weights,
)
from transreid.weights.checkpoint import load_weights


def whole_model(cfg, weights: str) -> torch.nn.Module:
    model = build_model(cfg)
    if cfg.MODEL.META_ARCHITECTURE == "TransReID":
        load_weights(model, weights)
    else:
        Checkpointer(model).load(weights)
    return model.eval()


@torch.no_grad()
def feature(model: torch.nn.Module, image: torch.Tensor) -> np.ndarray:
    """Feature before BN (D,), of the whole model: FastReID's head has no such output."""
    if hasattr(model.heads, "pool_layer"):
        maps = model.backbone(model.preprocess_image({"images": image[None]}))
        return model.heads.pool_layer(maps).numpy().ravel()
    return model({"images": image[None]}).numpy()[0]


def naive_scores(scored_pool: Path, cfg, weights: tuple[str, str]) -> dict[str, float]:
    """Name -> score, one image and one model at a time."""
    models = [whole_model(cfg, path) for path in weights]
    transform = data_build.build_transforms(cfg, is_train=False)
    scores = {}
    for path in sorted((scored_pool / "images").rglob("*.png")):
        image = transform(Image.open(path).convert("RGB"))
        one, two = (feature(model, image) for model in models)
        cosine = np.dot(one, two) / (np.linalg.norm(one) * np.linalg.norm(two))
        scores[path.relative_to(scored_pool / "images").as_posix()] = float(cosine)
    return scores


@pytest.fixture(scope="module")
def resnets(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("resnets")
    source = write_weights(folder / "source.pth", resnet_cfg(), 0)
    return source, write_weights(folder / "target.pth", resnet_cfg(), 0, moved=0.01)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_scores_are_those_of_a_naive_loop(
    kind, num_workers, vits, resnets, scored_pool, tmp_path
) -> None:
    cfg, weights = (vit_cfg(), vits) if kind == "vit" else (resnet_cfg(), resnets)
    score(scored_pool, tmp_path / "s", cfg, *weights, num_workers=num_workers)
    scores = read_scores(str(tmp_path / "s"))
    expected = naive_scores(scored_pool, cfg, weights)
    assert list(scores.names) == list(expected)
    assert len(expected) == NUM_IMAGES
    np.testing.assert_allclose(scores.values, list(expected.values()), rtol=0, atol=1e-6)
    assert np.ptp(scores.values) > 1e-4  # the images differ by more than what is tolerated
    assert scores.values.max() < 0.999


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_one_model_twice_gives_one(kind, vits, resnets, scored_pool, tmp_path) -> None:
    cfg, weights = (vit_cfg(), vits[0]) if kind == "vit" else (resnet_cfg(), resnets[0])
    score(scored_pool, tmp_path / "s", cfg, weights, weights)
    assert (read_scores(str(tmp_path / "s")).values == 1.0).all()


def test_cosines_by_hand() -> None:
    """3-4-5: (3, 4) . (4, 3) = 24 of 25; opposite; right angles; zero has none."""
    one = torch.tensor([[3.0, 4.0], [1.0, 2.0], [1.0, 0.0], [0.0, 0.0]])
    two = torch.tensor([[4.0, 3.0], [-2.0, -4.0], [0.0, 7.0], [1.0, 1.0]])
    found = cosines(one, two)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[:3], [0.96, -1.0, 0.0], atol=1e-7)
    assert found[3].isnan()


def test_formats_of_vits(vits, scored_pool, tmp_path) -> None:
    """A whole model, its backbone alone and DINO's checkpoints with it are one source."""
    state = torch.load(vits[0])["model"]
    backbone = {k.removeprefix("backbone."): v for k, v in state.items() if "backbone." in k}
    other = {key: value + 1 for key, value in backbone.items()}
    files = {
        "teacher_backbone": backbone,
        "released_dino": {
            "student": {f"module.backbone.{k}": v for k, v in other.items()},
            "teacher": {f"backbone.{k}": v for k, v in backbone.items()},
        },
        "own_dino": {
            "model": {
                **{f"student.backbone.{k}": v for k, v in other.items()},
                **{f"teacher.backbone.{k}": v for k, v in backbone.items()},
            }
        },
    }
    expected = list(naive_scores(scored_pool, vit_cfg(), vits).values())
    for name, content in files.items():
        torch.save(content, tmp_path / f"{name}.pth")
        score(scored_pool, tmp_path / name, vit_cfg(), str(tmp_path / f"{name}.pth"), vits[1])
        found = read_scores(str(tmp_path / name)).values
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=name)


def test_formats_of_cnns(resnets, scored_pool, tmp_path) -> None:
    """DINO's files of a ResNet-50 with DINO's pooling, through a config of DINO."""
    state = torch.load(resnets[0])["model"]
    backbone = {k.removeprefix("backbone."): v for k, v in state.items() if "backbone." in k}
    other = {k: v + 1 for k, v in backbone.items()}
    files = {
        "teacher_backbone": {**backbone, "fc.weight": torch.ones(2, 2)},
        "released_dino": {
            "student": {f"module.backbone.{k}": v for k, v in other.items()},
            "teacher": {f"module.backbone.{k}": v for k, v in backbone.items()},
        },
        "own_dino": {
            "model": {
                **{f"student.backbone.{k}": v for k, v in other.items()},
                **{f"teacher.backbone.{k}": v for k, v in backbone.items()},
            }
        },
    }
    mean_pooled = resnet_cfg(MODEL__HEADS__POOL_LAYER="GlobalAvgPool")
    expected = list(naive_scores(scored_pool, mean_pooled, resnets).values())
    dino = resnet_cfg(MODEL__META_ARCHITECTURE="DINO")
    for name, content in files.items():
        torch.save(content, tmp_path / f"{name}.pth")
        score(scored_pool, tmp_path / name, dino, str(tmp_path / f"{name}.pth"), resnets[1])
        found = read_scores(str(tmp_path / name)).values
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=name)


def test_a_model_with_parts_and_cameras_gives_its_global_feature(
    vits, scored_pool, tmp_path
) -> None:
    """JPM's f_g of images of unknown cameras, by the whole model, against the source's feature."""
    whole = vit_cfg(
        MODEL__HEADS__NAME="JPMHead",
        MODEL__JPM__NUM_PARTS=2,
        MODEL__JPM__GLOBAL_ONLY=True,
        MODEL__SIE__CAMERA=True,
        MODEL__SIE__NUM_CAMERAS=3,
    )
    target = write_weights(tmp_path / "jpm.pth", whole, 5, moved=0.02)
    open_sie = vit_cfg(MODEL__HEADS__NAME="JPMHead", MODEL__SIE__CAMERA=True)
    transform = data_build.build_transforms(whole, is_train=False)
    model, source = whole_model(whole, target), whole_model(vit_cfg(), vits[0])
    expected = []
    for path in sorted((scored_pool / "images").rglob("*.png")):
        image = transform(Image.open(path))[None]
        with torch.no_grad():
            one = source({"images": image}).numpy()[0]
            two = model({"images": image, "camids": torch.tensor([-1])}).numpy()[0]
        expected.append(np.dot(one, two) / (np.linalg.norm(one) * np.linalg.norm(two)))
    pair = build_pair(vit_cfg(), vits[0], open_sie, target)
    listing = open_listing(whole, [f"ImageFolder:{scored_pool}"])
    score_images(listing, *pair, transform, tmp_path / "s", ScoringOptions(batch_size=3))
    found = read_scores(str(tmp_path / "s")).values
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_each_model_normalises_as_its_own_config_says(vits, scored_pool, tmp_path) -> None:
    """The source's pixels doubled and its mean and deviation doubled are the same to it."""
    plain, doubled = vit_cfg(), vit_cfg()
    doubled.MODEL.PIXEL_MEAN = [2 * value for value in plain.MODEL.PIXEL_MEAN]
    pair = build_pair(plain, vits[0], doubled, vits[0])
    image = torch.rand(1, 3, 64, 32) * 255
    shift = torch.tensor(plain.MODEL.PIXEL_MEAN).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(pair[0](image), pair[1](image + shift))
        assert not torch.allclose(pair[0](image), pair[1](image))


def test_bad_images_have_no_score_but_a_reason(vits, tmp_path) -> None:
    scored_pool = write_pool(tmp_path / "pool", 5)
    write_bad_images(scored_pool / "images" / "scene0")
    score(scored_pool, tmp_path / "s", vit_cfg(), *vits)
    scores = read_scores(str(tmp_path / "s"))
    names = list(scores.names)
    bad = dict(read_reasons(sorted((tmp_path / "s").glob("part-*"))))
    assert bad.keys() == {f"scene0/bad_{kind}.jpg" for kind in ("truncated", "empty", "text")}
    assert bad["scene0/bad_empty.jpg"] == "empty file"
    assert bad["scene0/bad_text.jpg"] == "not an image"
    missing = {name for name, value in zip(names, scores.values, strict=True) if np.isnan(value)}
    assert missing == bad.keys()
    assert np.isfinite(scores.values).sum() == 5


def test_a_folder_of_bad_images_alone(vits, tmp_path) -> None:
    write_bad_images(tmp_path / "pool")
    score(tmp_path / "pool", tmp_path / "s", vit_cfg(), *vits)
    assert np.isnan(read_scores(str(tmp_path / "s")).values).all()


@pytest.mark.parametrize(("value", "what"), [(float("nan"), "NaN"), (0.0, "all zero")])
def test_features_without_a_cosine_name_image_and_model(
    value, what, vits, scored_pool, tmp_path
) -> None:
    state = torch.load(vits[1])["model"]
    for key in ("backbone.norm.weight", "backbone.norm.bias"):
        state[key].fill_(value)
    torch.save({"model": state}, tmp_path / "broken.pth")
    with pytest.raises(UserError, match=rf"scene0/000.png.*target model.*broken.pth.*{what}"):
        score(scored_pool, tmp_path / "s", vit_cfg(), vits[0], str(tmp_path / "broken.pth"))


def test_what_cannot_be_scored_is_refused(vits, resnets, scored_pool, tmp_path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint 'nowhere.pth'"):
        score(scored_pool, tmp_path, vit_cfg(), "nowhere.pth", vits[1])
    with pytest.raises(UserError, match="holds no ViT"):
        score(scored_pool, tmp_path, vit_cfg(), resnets[0], vits[1])
    with pytest.raises(UserError, match=r"lacks .* \(conv1.weight"):
        score(scored_pool, tmp_path, resnet_cfg(), vits[0], resnets[1])
    with pytest.raises(UserError, match=r"SIZE_TEST is \[64, 32\] .* \[128, 64\]"):
        build_pair(vit_cfg(), vits[0], vit_cfg(INPUT__SIZE_TEST=[128, 64]), vits[1])
    mixed = build_pair(vit_cfg(), vits[0], resnet_cfg(), resnets[1])
    images = torch.rand(1, 3, 64, 32) * 255
    with pytest.raises(UserError, match="192 numbers, the target model's 2048"):
        scoring.score_batch(images, ["x"], mixed)


def test_half_precision_is_near(vits) -> None:
    images = torch.rand(4, 3, 64, 32) * 255
    pair = build_pair(vit_cfg(), vits[0], vit_cfg(), vits[1])
    full = scoring.score_batch(images, list("abcd"), pair)
    half = scoring.score_batch(images, list("abcd"), pair, "bf16")
    assert 0 < np.abs(full - half).max() < 0.02
