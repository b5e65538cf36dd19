"""ONNX graphs for pixels and for normalised input; what was not trained, in the graph."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from reid_common.errors import UserError
from small_inference import small_cfg, write_config, write_model
from transreid.deploy.trained import export_trained
from transreid.export.input_range import IMAGENET, KINDS, MEAN, PIXELS, STD, UNIT, InputRange

pytest.importorskip("onnx", reason="pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> tuple[str, str]:
    """Config and weights of a model with 3 cameras, of which camera 1 was not trained."""
    folder, cfg = tmp_path_factory.mktemp("model"), small_cfg()
    path = write_model(folder, cfg)
    content = torch.load(path)
    content["model"]["backbone.sie.trained_rows"] = torch.tensor([1, 0, 1], dtype=torch.uint8)
    torch.save(content, path)
    return write_config(folder, cfg), path


def pictures() -> dict[str, np.ndarray]:
    """The same 3 pictures as each kind of input."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 32)).astype(np.float32)
    mean, std = (np.array(x, np.float32)[:, None, None] for x in (MEAN, STD))
    return {PIXELS: pixels, UNIT: pixels / 255, IMAGENET: (pixels / 255 - mean) / std}


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_each_graph_gives_the_same_features_and_notices_other_input(model, tmp_path) -> None:
    features = {}
    for kind in KINDS:
        path = tmp_path / f"{kind}.onnx"
        export_trained(path, *model, input_range=kind, camera="off")
        graph = session(path)
        assert graph.get_modelmeta().custom_metadata_map["color"] == KINDS[kind]
        for given, images in pictures().items():
            found = graph.run(None, {"images": images})[0]
            assert np.isnan(found).all() == (given != kind), (kind, given)
        features[kind] = graph.run(None, {"images": pictures()[kind]})[0]
    for kind in (UNIT, IMAGENET):
        np.testing.assert_allclose(features[kind], features[PIXELS], atol=1e-4)


def test_dark_pictures_are_pixels() -> None:
    check = InputRange(PIXELS).fault
    black, dark = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    dark[0, 0, 0, 0] = 3
    bright = torch.rand(1, 3, 8, 8)
    assert check(black) == 0 and check(dark) == 0
    assert check(bright).isnan()
    assert check(torch.cat([bright, bright * 255])) == 0  # the batch decides


def test_grey_pictures_are_normalised() -> None:
    """Of one colour, or none beyond 0..1 when normalised; a batch of zeros is a warm-up."""
    values = InputRange(IMAGENET)
    for level in range(256):
        grey = values.from_pixels(torch.full((1, 3, 4, 4), float(level)))
        assert values.fault(grey) == 0, level
    draw = torch.Generator().manual_seed(0)
    pale = torch.randint(124, 161, (2, 3, 8, 8), generator=draw).float()
    given = values.from_pixels(pale)
    assert given.min() >= 0 and given.max() <= 1 and values.fault(given) == 0
    assert values.fault(torch.zeros(1, 3, 4, 4)) == 0
    assert values.fault(pale / 255).isnan()


def test_what_was_not_trained_is_in_the_metadata_and_unknown_to_the_graph(model, tmp_path) -> None:
    path = tmp_path / "m.onnx"
    export_trained(path, *model)
    graph = session(path)
    metadata = graph.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["trained_cameras"]) == [0, 2]
    assert json.loads(metadata["trained_views"]) == []
    images = np.repeat(pictures()[PIXELS][:1], 4, axis=0)
    found = graph.run(None, {"images": images, "camids": np.array([0, 1, -1, 2])})[0]
    np.testing.assert_allclose(found[1], found[2], atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-4 and np.abs(found[2] - found[3]).max() > 1e-4
    with pytest.raises(UserError, match=r"camera 1: .* are of \[0, 2\] alone"):
        export_trained(tmp_path / "f.onnx", *model, camera=1)
    export_trained(path, *model, ["MODEL.SIE.UNKNOWN", "error"])
    found = session(path).run(None, {"images": images[:2], "camids": np.array([0, 1])})[0]
    assert np.isnan(found[1]).all() and not np.isnan(found[0]).any()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"--input: 'imagnet' is unknown\. Did you mean 'imagenet'"):
        InputRange("imagnet")
