"""tools/export_onnx.py: from a checkpoint to features that FeatureExtractor gives as well."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from reid_commands import export as export_onnx
from reid_core.config import load_config
from transreid.inference.extractor import FeatureExtractor

pytest.importorskip("onnx", reason="pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

CONFIG = """
MODEL:
  DEVICE: cpu
  META_ARCHITECTURE: TransReID
  PIXEL_MEAN: [127.5, 127.5, 127.5]
  PIXEL_STD: [127.5, 127.5, 127.5]
  BACKBONE:
    NAME: build_transreid_backbone
    TIMM_NAME: vit_tiny_patch16_224
    NUM_BLOCKS: 2
    FEAT_DIM: 192
    STRIDE_SIZE: [16, 16]
  HEADS:
    NAME: JPMHead
  SIE:
    CAMERA: True
INPUT:
  SIZE_TRAIN: [64, 32]
  SIZE_TEST: [64, 32]
"""
OPTIONS = ["DATASETS.CAMERAS", "('market1501:3',)"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Config file and checkpoint of a small model of 3 cameras and 7 identities."""
    folder = tmp_path_factory.mktemp("trained")
    config, weights = folder / "small.yml", folder / "model.pth"
    config.write_text(CONFIG)
    sizes = ["MODEL.SIE.NUM_CAMERAS", 3, "MODEL.HEADS.NUM_CLASSES", 7]
    torch.manual_seed(0)
    model = build_model(load_config(config, [*OPTIONS, *sizes, "MODEL.BACKBONE.PRETRAIN", False]))
    torch.nn.init.normal_(model.backbone.sie.sie_embed)
    torch.save({"model": model.state_dict()}, weights)
    return str(config), str(weights)


def run(trained: tuple[str, str], out: Path, *arguments: str) -> int:
    config, weights = trained
    return export_onnx.main(
        ["-o", str(out), "--config-file", config, "--weights", weights, *arguments]
    )


def test_features_and_metadata(trained, tmp_path, capsys) -> None:
    out = tmp_path / "model.onnx"
    assert run(trained, out) == 0
    printed = capsys.readouterr().out
    assert "images, camids -> features of 960 numbers" in printed and "apart" in printed

    extractor = FeatureExtractor(*trained, device="cpu")
    pictures = [np.random.default_rng(i).integers(0, 256, (50, 40, 3), np.uint8) for i in range(3)]
    images = torch.stack([extractor._tensor(picture, 0) for picture in pictures])
    camids = [2, None, 0]
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    inputs = {"images": images.numpy(), "camids": np.array([2, -1, 0])}
    features = torch.from_numpy(session.run(None, inputs)[0])
    torch.testing.assert_close(features, extractor(pictures, camids), atol=1e-5, rtol=1e-5)

    found = session.get_modelmeta().custom_metadata_map
    values = {key: json.loads(found[key]) for key in ("image_size", "pixel_mean", "cameras")}
    assert values == {
        "image_size": [64, 32],
        "pixel_mean": [127.5] * 3,
        "cameras": ["market1501:3"],
    }
    assert (found["feature_dim"], found["num_classes"], found["num_cameras"]) == ("960", "7", "3")
    assert (found["config_name"], found["unknown"], found["flip"]) == ("small.yml", "mean", "false")
    assert len(found["weights_sha256"]) == 64
    assert "Resize" in found["transform"]
    assert json.loads(found["versions"])["torch"] == torch.__version__


def test_a_fixed_camera_and_the_global_feature(trained, tmp_path, capsys) -> None:
    out = tmp_path / "model.onnx"
    assert run(trained, out, "--camera", "1", "--global-only", "TEST.FLIP.ENABLED", "True") == 0
    assert "images -> features of 192 numbers" in capsys.readouterr().out
    extractor = FeatureExtractor(
        *trained, device="cpu", global_only=True, options=["TEST.FLIP.ENABLED", "True"]
    )
    images = torch.rand(2, 3, 64, 32).mul(255).round()
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    features = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    camids = torch.full((2,), 1)
    expected = extractor.extract(images, camids, torch.full((2,), -1))
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--camera", "3"], "camera 3: the model knows 0..2"),
        (["--camera", "-1"], "write input, off or a number from 0 on"),
        (["--view", "input"], "embeds no view"),
        (["--opset", "11"], "opset 11: choose one of 14..20"),
        (["MODEL.SIE.UNKNOWN", "error", "--camera", "off"], "MODEL.SIE.UNKNOWN is error"),
    ],
)
def test_bad_requests_end_as_one_message(trained, tmp_path, capsys, arguments, message) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run(trained, tmp_path / "model.onnx", *arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused_before_the_model_is_built(trained, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        export_onnx.main(["-o", str(tmp_path / "model.pt"), "--config-file", "absent.yml"])
    assert "ends in .onnx" in capsys.readouterr().err
