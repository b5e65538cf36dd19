"""Models: the caller's batch stays as it was, any input type works, losses stay finite."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pytest
import torch
from fastreid.engine import DefaultPredictor
from fastreid.evaluation import DatasetEvaluator, inference_on_dataset
from fastreid.layers import any_softmax
from fastreid.layers.batch_norm import get_norm
from fastreid.modeling import build_model
from fastreid.modeling.backbones import build_backbone
from fastreid.utils.events import EventStorage
from fastreid_compat.repairs.checkpoints import pretrained
from fastreid_compat.repairs.modeling import models
from fastreid_models import distiller, mgn, moco, pixels
from reid_common.errors import UserError


@pytest.fixture
def cfg(tiny_cfg):
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 4
    return tiny_cfg


@pytest.mark.parametrize("change", [lambda cfg: cfg, mgn, moco, distiller])
def test_training_leaves_the_batch_alone(change, cfg):
    model = build_model(change(cfg)).train()
    batch = {"images": pixels().float(), "targets": torch.full((4,), -1)}  # as PreciseBN does it
    before = {name: value.clone() for name, value in batch.items()}
    with EventStorage():
        losses = model(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())
    for name, value in before.items():
        assert torch.equal(batch[name], value), name


@pytest.mark.parametrize("change", [lambda cfg: cfg, mgn])
def test_bytes_arrays_and_floats_give_the_same_features(change, cfg):
    model = build_model(change(cfg)).eval()
    images = pixels()
    frozen = images.to(torch.uint8).numpy()
    frozen.setflags(write=False)
    with torch.no_grad():
        wanted = model({"images": images.float()})
        for same in (images.float(), images.to(torch.uint8), frozen, {"images": frozen}):
            torch.testing.assert_close(model(same), wanted)


def test_normalisation_is_bit_identical_to_fastreids(cfg):
    model = build_model(cfg)
    images = pixels().float()
    wanted = images.clone().sub_(model.pixel_mean).div_(model.pixel_std)
    assert torch.equal(model.preprocess_image({"images": images}), wanted)


@pytest.mark.parametrize("wrong", [torch.zeros(3, 64, 32), np.zeros((64, 32, 3)), "image.jpg"])
def test_what_is_no_batch_is_refused(wrong, cfg):
    with pytest.raises(UserError, match="batch, channels, height, width"):
        build_model(cfg).eval()(wrong)


def test_flip_test_averages_the_features_of_image_and_mirror_image(cfg):
    """FastReID normalises the mirror image twice: the features then differ from these."""
    model = build_model(cfg).eval()
    images = pixels().float()

    class Keep(DatasetEvaluator):
        def process(self, inputs, outputs):
            self.features = outputs

    class Loader(list):
        dataset = range(4)

    keep = Keep()
    inference_on_dataset(model, Loader([{"images": images.clone()}]), keep, flip_test=True)
    with torch.no_grad():
        wanted = (model(images) + model(images.flip(3))) / 2
    torch.testing.assert_close(keep.features, wanted)


def test_predictor_takes_arrays_and_keeps_them(cfg):
    predictor = DefaultPredictor(cfg)
    images = pixels().float()
    before = images.clone()
    features = predictor(images)
    assert torch.equal(images, before)
    torch.testing.assert_close(predictor(images.numpy().astype(np.uint8)), features)
    with pytest.raises(UserError, match="64, 32, 3"):
        predictor(np.zeros((64, 32, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_arc_softmax_of_aligned_features_is_finite(dtype):
    layer = any_softmax.ArcSoftmax(num_classes=3, scale=64, margin=0.5)
    cosines = torch.tensor([[1.0, -1.0, 0.5], [1.0001, 0.2, 0.0]], dtype=dtype, requires_grad=True)
    logits = layer(cosines.clone(), torch.tensor([0, 0]))
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(cosines.grad).all()


def test_arc_softmax_is_unchanged_elsewhere():
    layer = any_softmax.ArcSoftmax(num_classes=2, scale=64, margin=0.5)
    got = layer(torch.tensor([[0.3, -0.4]]), torch.tensor([0]))
    wanted = 64 * torch.tensor([[np.cos(np.arccos(0.3) + 0.5), -0.4]], dtype=torch.float32)
    torch.testing.assert_close(got, wanted)


def test_sync_bn_on_the_cpu_is_batch_norm_with_one_warning(caplog):
    models._warn_about_sync_bn.cache_clear()
    sync, plain = get_norm("syncBN", 5), get_norm("BN", 5)
    x = torch.randn(4, 5, 3, 2)
    for _ in range(2):
        torch.testing.assert_close(sync(x), plain(x))
    torch.testing.assert_close(sync.running_var, plain.running_var)
    assert caplog.text.count("syncBN") == 1


def test_missing_pretrained_file_is_named(cfg, tmp_path):
    cfg.MODEL.BACKBONE.PRETRAIN = True
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = str(tmp_path / "absent.pth")
    with pytest.raises(UserError, match=r"absent\.pth"):
        build_model(cfg)


@pytest.mark.parametrize("name", ["build_resnet_backbone", "build_vit_backbone"])
def test_pretraining_without_file_and_network_says_what_to_set(name, cfg, monkeypatch, tmp_path):
    def offline(url, output, progress):
        raise OSError("Network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gdown", None)
    monkeypatch.delitem(sys.modules, "gdown")
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.DEPTH = "18x" if "resnet" in name else "small"
    cfg.MODEL.BACKBONE.PRETRAIN = True
    with pytest.raises(UserError, match=r"set MODEL\.BACKBONE\.PRETRAIN_PATH to the file"):
        build_backbone(cfg)
    assert "gdown" not in sys.modules


def test_cached_download_needs_no_gdown(cfg, monkeypatch, tmp_path):
    weights = build_backbone(cfg).state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(weights, tmp_path / "checkpoints" / "resnet18-5c106cde.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cfg.MODEL.BACKBONE.PRETRAIN = True
    assert torch.equal(build_backbone(cfg).conv1.weight, weights["conv1.weight"])


def test_checkpoint_with_training_arguments_loads(cfg, tmp_path):
    weights = build_backbone(cfg).state_dict()
    path = tmp_path / "weights.pth"
    torch.save({**weights, "args": argparse.Namespace(lr=0.1)}, path)
    cfg.MODEL.BACKBONE.PRETRAIN = True
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = str(path)
    assert torch.equal(build_backbone(cfg).conv1.weight, weights["conv1.weight"])


@pytest.mark.parametrize(
    ("name", "depth"),
    [("build_shufflenetv2_backbone", "1.0x"), ("build_mobilenetv3_backbone", "Small")],
)
def test_weights_saved_on_a_gpu_load_onto_the_cpu(name, depth, cfg, monkeypatch, tmp_path):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = name, depth
    weights = build_backbone(cfg).state_dict()
    path = tmp_path / "gpu.pth"
    with monkeypatch.context() as on_a_gpu:
        on_a_gpu.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save({"state_dict": weights} if "shuffle" in name else weights, path)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path)
    cfg.MODEL.BACKBONE.PRETRAIN = True
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = str(path)
    loaded = build_backbone(cfg).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_file_that_holds_no_weights_of_the_backbone_is_named(content, cfg, tmp_path):
    path = tmp_path / "other.pth"
    if content is None:
        torch.save({"conv1.weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    cfg.MODEL.BACKBONE.PRETRAIN = True
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = str(path)
    with pytest.raises(UserError, match=r"other\.pth"):
        build_backbone(cfg)
