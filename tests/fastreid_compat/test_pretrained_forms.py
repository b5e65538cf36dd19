"""MODEL.BACKBONE.PRETRAIN_PATH: every backbone takes every form of file, or refuses the file."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone, vision_transformer
from fastreid.utils.checkpoint import Checkpointer
from reid_common.errors import UserError
from torch import nn


class Plain(nn.Module):
    """A backbone of another project, whose builder knows nothing of weights."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))


@pytest.fixture
def cfg(tiny_cfg, monkeypatch):
    names = {"Plain": Plain, "__name__": "plain"}
    exec("def build(cfg):\n    return Plain()", names)
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "build_plain", names["build"])
    tiny_cfg.MODEL.BACKBONE.NAME = "build_plain"
    return tiny_cfg


@pytest.fixture
def small_vit(monkeypatch):
    """One block of 48 dimensions in the place of FastReID's ViT."""
    small = {"depth": 1, "embed_dim": 48, "num_heads": 2}
    whole = vision_transformer.VisionTransformer
    make = lambda **kwargs: whole(**{**kwargs, **small})  # noqa: E731
    monkeypatch.setattr(vision_transformer, "VisionTransformer", make)


def load(cfg, content, tmp_path):
    """Build the backbone of ``cfg`` from a file with ``content``."""
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    cfg.MODEL.BACKBONE.PRETRAIN = True
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = str(path)
    return build_backbone(cfg).state_dict()


def behind(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def negative(state):
    """Other weights, of which all are told from the given ones."""
    return {key: -1 - value.abs() for key, value in state.items()}


FORMS = {
    "bare": lambda w, other: w,
    "with a classifier": lambda w, other: {**w, "fc.weight": torch.ones(3, 4)},
    "state_dict": lambda w, other: {"state_dict": w, "epoch": 3},
    "DataParallel": lambda w, other: {"state_dict": behind("module.", w)},
    "DINO": lambda w, other: {
        "student": behind("backbone.", other),
        "teacher": {**behind("backbone.", w), "head.mlp.0.weight": torch.ones(2, 2)},
    },
    "MoCo": lambda w, other: {
        "state_dict": {
            **behind("module.encoder_k.", other),
            **behind("module.encoder_q.", w),
            "module.encoder_q.fc.0.weight": torch.ones(2, 2),
            "module.queue": torch.ones(2, 5),
        }
    },
    "BYOL": lambda w, other: {**behind("target.net.", other), **behind("online.net.", w)},
    "FastReID": lambda w, other: {
        "model": {**behind("backbone.", w), "heads.bottleneck.0.weight": torch.ones(4)}
    },
    "pycls": lambda w, other: {"model_state": w, "epoch": 1},
    "nested": lambda w, other: {"model": {"state_dict": w}},
    "without counters": lambda w, other: {k: v for k, v in w.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_file_loads(form, cfg, tmp_path):
    weights = build_backbone(cfg).state_dict()
    loaded = load(cfg, FORMS[form](weights, negative(weights)), tmp_path)
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("build_resnet_backbone", "18x"),
        ("build_mobilenetv2_backbone", "0.1x"),
        ("build_mobilenetv3_backbone", "Small"),
        ("build_shufflenetv2_backbone", "0.5x"),
        ("build_regnet_backbone", "200x"),
        ("build_osnet_backbone", "x0_25"),
        ("build_repvgg_backbone", "A0"),
        ("build_vit_backbone", "small"),
    ],
)
def test_every_backbone_of_fastreid_takes_wrapped_weights_and_refuses_others(
    name, depth, cfg, tmp_path, small_vit
):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = name, depth
    weights = build_backbone(cfg).state_dict()
    loaded = load(cfg, {"state_dict": behind("module.base_encoder.", weights)}, tmp_path)
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)
    with pytest.raises(UserError, match=r"weights\.pth' does not fit.* 0% of the weights"):
        load(cfg, {"some.other.weight": torch.zeros(3)}, tmp_path)


def lacking_a_block(state):
    return {k: v for k, v in state.items() if not k.startswith("layer1.0.")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lacking_a_block, r"lacks 2 tensors \(layer1\.0\."),
        (lambda w: {**w, "conv6.weight": torch.ones(2)}, r"not of this one: conv6\.weight"),
        (
            lambda w: {**w, "layer1.0.gate.weight": torch.ones(2)},
            r"not of this one: layer1\.0\.gate",
        ),
        (lambda w: {**w, "layer1.1.IN.weight": torch.ones(2)}, r"set MODEL\.BACKBONE\.WITH_IBN"),
        (lambda w: {**w, "conv1.weight": torch.ones(2)}, r"conv1\.weight \[2\], here"),
    ],
)
def test_parts_of_another_backbone_are_an_error_that_names_them(change, message, cfg, tmp_path):
    weights = build_backbone(cfg).state_dict()
    with pytest.raises(UserError, match=message):
        load(cfg, change(weights), tmp_path)


def test_the_log_has_a_table_of_what_was_loaded(cfg, tmp_path, caplog):
    weights = build_backbone(cfg).state_dict()
    with caplog.at_level(logging.INFO):
        load(cfg, {**weights, "classifier.weight": torch.ones(3)}, tmp_path)
    assert "100% of the Plain's weights" in caplog.text
    assert re.search(r"skipped \|\s+1 \| classifier\.weight", caplog.text)


def test_parts_that_start_from_scratch_may_be_missing(cfg, tmp_path, caplog):
    """Plain ResNet weights start a network with SE blocks, with a warning."""
    options = cfg.MODEL.BACKBONE
    options.NAME, options.DEPTH = "build_resnet_backbone", "18x"
    weights = build_backbone(cfg).state_dict()
    options.WITH_SE = True
    loaded = load(cfg, {**weights, "fc.weight": torch.ones(3)}, tmp_path)
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "starts from random weights: layer1.0.se." in warning.message


def test_a_vit_of_fastreid_gets_resized_position_embeddings(cfg, tmp_path, small_vit):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = "build_vit_backbone", "small"
    weights = build_backbone(cfg).state_dict()
    distilled = {**weights, "pos_embed": torch.full((1, 6, 48), 2.0), "dist_token": torch.ones(1)}
    distilled["patch_embed.proj.weight"] = weights["patch_embed.proj.weight"].flatten(1)
    loaded = load(cfg, {"model": distilled}, tmp_path)
    torch.testing.assert_close(loaded["pos_embed"], torch.full_like(weights["pos_embed"], 2.0))
    key = "patch_embed.proj.weight"
    assert torch.equal(loaded[key], weights[key])


@pytest.mark.parametrize("content", [{"conv1.weight": torch.ones(2)}, {"state_dict": {}}])
def test_a_download_of_other_weights_is_refused(content, cfg, monkeypatch, tmp_path):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = "build_resnet_backbone", "18x"
    (tmp_path / "checkpoints").mkdir()
    torch.save(content, tmp_path / "checkpoints" / "resnet18-5c106cde.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cfg.MODEL.BACKBONE.PRETRAIN = True
    with pytest.raises(UserError, match=r"size mismatch|holds no weights|does not fit"):
        build_backbone(cfg)


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.heads = Plain(), nn.Linear(8, 3)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("backbone.layer1.2.weight", r"not of this one: layer1\.2\.weight"),
        ("module.backbone.layer2.0.weight", r"not of this one: layer2\.0\.weight"),
        ("heads.neck.weight", None),
        ("optimizer.step", None),
    ],
)
def test_whole_models_of_another_backbone_are_refused_too(key, message, tmp_path):
    model = Whole()
    prefix = "module." if key.startswith("module.") else ""
    state = {**behind(prefix, model.state_dict()), key: torch.ones(2)}
    torch.save({"model": state}, tmp_path / "model.pth")
    if message is None:
        Checkpointer(model).load(str(tmp_path / "model.pth"))
        return
    with pytest.raises(UserError, match=message):
        Checkpointer(model).load(str(tmp_path / "model.pth"))


def test_a_whole_model_that_lacks_a_layer_of_the_backbone_is_refused(tmp_path):
    model = Whole()
    state = lacking_a_block_of(model.state_dict())
    torch.save({"model": state}, tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"[78]\d% of the weights of Plain|lacks 2 tensors"):
        Checkpointer(model).load(str(tmp_path / "model.pth"))


def lacking_a_block_of(state):
    return {k: v for k, v in state.items() if not k.startswith("backbone.layer1.0.")}
