"""Export profiles: what each consumer gives, as it makes it, gives FeatureExtractor's features."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from reid_common.errors import UserError
from small_inference import picture, small_cfg, write_config, write_model
from transreid.deploy.trained import export_trained
from transreid.export.input_range import MEAN, STD
from transreid.export.profiles import PROFILES
from transreid.export.resize import KERNELS, Resize
from transreid.inference.exported_model import OnnxExtractor
from transreid.inference.extractor import FeatureExtractor

pytest.importorskip("onnx", reason="pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
SIZE = (64, 32)
NAMES = {"triton": "reid/1/model.onnx"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> tuple[str, str]:
    """Config and weights of a model with 3 cameras."""
    folder, cfg = tmp_path_factory.mktemp("model"), small_cfg()
    return write_config(folder, cfg), write_model(folder, cfg)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory) -> dict[str, Path]:
    """The model exported for each consumer."""
    folder = tmp_path_factory.mktemp("profiles")
    paths = {name: folder / name / NAMES.get(name, "reid.onnx") for name in PROFILES}
    for name, path in paths.items():
        export_trained(path, *model, profile=name)
    return paths


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    """RGB crops of the model's size, whose channels differ."""
    return [picture(seed, SIZE) // np.array([1, 2, 4], np.uint8) for seed in range(3)]


@pytest.fixture(scope="module")
def expected(model, crops) -> np.ndarray:
    return FeatureExtractor(*model, device="cpu")(crops).numpy()


def given(name: str, crops: list[np.ndarray]) -> list[np.ndarray]:
    """Batches as the consumer makes them, written from its documentation."""
    rgb = np.stack(crops)
    planes = rgb.transpose(0, 3, 1, 2).astype(np.float32)
    if name == "ultralytics":
        return [planes / 255]
    if name == "boxmot":
        mean, std = (np.array(x, np.float32)[:, None, None] for x in (MEAN, STD))
        return [(planes / 255 - mean) / std]
    if name == "deepsort":
        return [rgb[..., ::-1].copy()]
    if name == "opencv":
        return [cv2.dnn.blobFromImage(np.ascontiguousarray(c[..., ::-1])) for c in crops]
    return [planes]


def run(path: Path, batches: list[np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = []
    for batch in batches:
        feeds = {"images": batch, "camids": np.full(len(batch), -1)}
        names = [item.name for item in session.get_inputs()]
        rows.append(session.run(None, {name: feeds[name] for name in names})[0])
    return np.concatenate(rows)


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_consumer_gives_is_undone(name, files, crops, expected) -> None:
    features = run(files[name], given(name, crops))
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_cv2_dnn_runs_the_graph_and_notices_other_images(files, crops, expected) -> None:
    net = cv2.dnn.readNetFromONNX(str(files["opencv"]))
    features = []
    for batch in given("opencv", crops):
        net.setInput(batch)
        features.append(net.forward()[0].copy())
    np.testing.assert_allclose(features, expected, atol=1e-4)
    net.setInput(given("opencv", crops)[0] / 255)
    assert np.isnan(net.forward()).all()


@pytest.mark.parametrize("name", ["opencv", "ultralytics", "boxmot"])
def test_the_file_of_another_profile_gives_other_features(name, files, crops, expected) -> None:
    batch = given("triton", crops)[0]
    features = run(files[name], [batch[:1]])
    assert not (features * expected[:1]).sum() > 0.99, "NaN, or another vector"


def test_only_plain_and_triton_have_cameras_as_inputs(files) -> None:
    for name, path in files.items():
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        inputs = [item.name for item in session.get_inputs()]
        assert inputs == ["images", "camids"] if name in ("plain", "triton") else ["images"], name
        found = session.get_modelmeta().custom_metadata_map
        assert (found["profile"], found["color"]) == (name, PROFILES[name].color)
        shape = session.get_inputs()[0].shape
        assert shape[0] == (1 if name == "opencv" else "batch")


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_graph_resizes_as_pillow_does(kernel: str) -> None:
    resize, wanted = Resize(SIZE, kernel), Image.Resampling[kernel.upper()]
    for size in ((64, 32), (200, 31), (17, 90), (1, 3), (128, 64)):
        crop = picture(7, size)
        found = resize(torch.from_numpy(crop).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0)
        pillow = np.asarray(Image.fromarray(crop).resize(SIZE[::-1], wanted), np.float32)
        apart = np.abs(found.numpy() - pillow)
        # Pillow may begin with the other axis: then overshoots are cut off in other places.
        assert apart.mean() < 0.5 and (apart > 1).mean() < 0.05, size


def test_raw_crops_of_any_size_are_resized_in_the_graph(model, files) -> None:
    crops = [picture(1, (150, 60)), picture(2, (40, 33))]
    features = run(files["deepsort"], [crop[None, :, :, ::-1].copy() for crop in crops])
    np.testing.assert_allclose(
        (features * FeatureExtractor(*model, device="cpu")(crops).numpy()).sum(1), 1, atol=1e-4
    )


def test_our_reader_gives_the_extractors_features(model, files, tmp_path) -> None:
    """From images of odd sizes, with cameras; in batches of a fixed size; of another range."""
    crops, camids = [picture(seed, (90 + seed, 41)) for seed in range(3)], [2, None, 0]
    expected = FeatureExtractor(*model, device="cpu")(crops, camids)
    reader = OnnxExtractor(files["plain"], batch_size=2)
    torch.testing.assert_close(reader(crops, camids), expected, atol=1e-4, rtol=0)
    assert reader([]).shape == (0, reader.feature_dim) == (0, expected.shape[1])
    export_trained(tmp_path / "two.onnx", *model, batch=2, input_range="imagenet")
    fixed = OnnxExtractor(tmp_path / "two.onnx")
    torch.testing.assert_close(fixed(crops, camids), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "plain"])
def test_our_reader_refuses_the_file_of_another_profile(name, files) -> None:
    with pytest.raises(UserError, match=rf"--profile {name}, for .* export .* --profile plain"):
        OnnxExtractor(files[name])


def test_our_reader_refuses_what_is_no_model(tmp_path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        OnnxExtractor(tmp_path / "no.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(UserError, match="no ONNX file"):
        OnnxExtractor(tmp_path / "text.onnx")


def test_what_boxmot_and_triton_read_beside_the_file(files, model, tmp_path) -> None:
    beside = json.loads(files["boxmot"].with_name("reid.onnx.metadata.json").read_text())
    assert beside["model_kwargs"] == {"img_size": [64, 32]} and beside["schema_version"] == 1
    config = (files["triton"].parents[1] / "config.pbtxt").read_text()
    assert 'name: "reid"' in config and "max_batch_size: 64" in config
    assert "dims: [3, 64, 32]" in config and "reshape { shape: [] }" in config
    export_trained(tmp_path / "reid/2/model.onnx", *model, profile="triton", batch=4, camera="off")
    config = (tmp_path / "reid/config.pbtxt").read_text()
    assert "max_batch_size: 0" in config and "dims: [4, 3, 64, 32]" in config
    assert "camids" not in config


@pytest.mark.parametrize(
    "options, name, message",
    [
        ({"profile": "boxmott"}, "m.onnx", "'boxmott' is unknown. Did you mean 'boxmot'"),
        ({"profile": "boxmot", "input_range": "0-1"}, "m.onnx", "leave --input out"),
        ({"profile": "boxmot", "camera": "input"}, "m.onnx", "give images alone"),
        ({"profile": "triton"}, "m.onnx", "REPOSITORY/NAME/VERSION/model.onnx"),
        ({"profile": "ultralytics"}, "yolo26n-reid.onnx", "choose another one"),
        ({"batch": -1}, "m.onnx", "--batch -1"),
    ],
)
def test_bad_requests(options, name, message, model, tmp_path) -> None:
    with pytest.raises(UserError, match=message):
        export_trained(tmp_path / name, *model, **options)
    assert not list(tmp_path.iterdir())
