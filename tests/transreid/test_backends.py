"""Backends: auto's choice and its cache, exported files of every format in FeatureExtractor."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from interrupted import Interrupted
from reid_common.errors import UserError
from small_inference import picture, small_cfg, write_config, write_model, write_odd_images
from transreid.deploy.trained import export_trained
from transreid.inference.backends import automatic, measuring
from transreid.inference.backends.measuring import Candidate, measure, several
from transreid.inference.exported_model import ExportedModel
from transreid.inference.extraction import extract_to_file
from transreid.inference.extractor import FeatureExtractor
from transreid.inference.feature_files import read_meta
from transreid.inference.image_lists import list_images

SIZE = (64, 32)


class Clock:
    """Seconds that fakes let pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake:
    """A backend of a known speed, whose feature of one image may be off by an angle."""

    def __init__(self, clock: Clock, name: str, seconds: float, angle: float = 0.0) -> None:
        self.clock, self.seconds, self.angle = clock, seconds, torch.tensor(angle)
        self.backend, self.precision = name.split()
        self.calls = 0

    def __call__(self, images, camids, viewids):
        self.calls += 1
        self.clock.now += self.seconds * len(images)
        features = torch.tensor([[1.0, 0.0]]).repeat(len(images), 1)
        features[-1] = torch.stack([self.angle.cos(), self.angle.sin()])
        return features


def batch(count: int = 4):
    ids = torch.full((count,), -1)
    return torch.rand(count, 3, *SIZE) * 255, ids, ids


def chosen(others: list[Fake], clock: Clock, reference: Fake, **options):
    candidates = [Candidate(x.backend, x.precision, lambda x=x: x) for x in others]
    return measure(reference, candidates, batch(), clock, **options)


def test_the_fastest_that_agrees_is_chosen_and_others_are_named() -> None:
    """cos(0.04) = 0.9992 is below 0.9995, though the mean of 8 images is above it."""
    clock = Clock()
    reference = Fake(clock, "torch fp32", 0.1)
    close = Fake(clock, "onnxruntime fp32", 0.05, angle=0.02)
    far = Fake(clock, "torch bf16", 0.01, angle=0.04)
    slow = Fake(clock, "openvino fp32", 0.5)
    rows, best = chosen([far, slow, close], clock, reference)
    assert best is close
    assert [row.images_per_second for row in rows] == pytest.approx([10, 0, 0, 20])
    assert rows[1].reason == "cosine 0.99920 with float32 is below 0.9995"
    assert "3 times slower" in rows[2].reason and slow.calls == 2, "it is not looked at further"
    assert str(rows[3]) == "ONNX Runtime fp32: 20 images/s"


def test_a_feature_that_is_no_number_is_refused() -> None:
    clock = Clock()
    broken = Fake(clock, "torch bf16", 0.01, angle=float("nan"))
    rows, best = chosen([broken], clock, reference := Fake(clock, "torch fp32", 0.1))
    assert best is reference and "cosine nan" in rows[1].reason


def test_float32_stays_where_little_is_won_and_what_is_missing_is_named() -> None:
    clock = Clock()
    reference, other = Fake(clock, "torch fp32", 0.1), Fake(clock, "onnxruntime fp32", 0.099)
    assert chosen([other], clock, reference)[1] is reference
    assert chosen([other], clock, reference, may_stay=False)[1] is other

    def missing():
        raise UserError("not installed")

    rows, best = measure(
        reference, [Candidate("openvino", "fp32", missing)], batch(), clock, may_stay=True
    )
    assert best is reference and "not installed" in rows[1].reason
    with pytest.raises(UserError, match=r"nothing of what was asked for.*not installed"):
        measure(reference, [Candidate("openvino", "fp32", missing)], batch(), clock, False)


@pytest.mark.parametrize("count, expected", [(1, 8), (3, 9), (8, 8), (50, 32)])
def test_how_many_images_are_compared(count: int, expected: int) -> None:
    images, camids, _ = several(batch(count))
    assert len(images) == len(camids) == expected
    assert images.min() >= 0 and images.max() <= 255


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> tuple[str, str]:
    folder, cfg = tmp_path_factory.mktemp("model"), small_cfg()
    return write_config(folder, cfg), write_model(folder, cfg)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TRANSREID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def measured(monkeypatch) -> list[str]:
    """A measurement that takes no time; what it chose, call by call, "bf16" of what is asked."""
    calls: list[str] = []

    def fast(reference, candidates, batch, may_stay=True):
        found = next(x for x in candidates if x.precision == "bf16").build()
        calls.append(found.precision)
        return [
            measuring.Measured("torch", "fp32", 1.0),
            measuring.Measured("torch", "bf16", 2.0),
        ], found

    monkeypatch.setattr(automatic, "measure", fast)
    return calls


def auto(model, **options) -> FeatureExtractor:
    return FeatureExtractor(*model, device="cpu", precision="auto", **options)


def test_a_choice_is_measured_once_and_kept(model, cache, measured, caplog) -> None:
    caplog.set_level(logging.INFO, "transreid.inference.backends")
    images = [picture(seed) for seed in range(2)]
    extractor = auto(model)
    assert (extractor.precision, extractor.backend) == ("auto", "auto")
    assert extractor.feature_dim == 576 and extractor.undecided is not None
    features = extractor(images)
    assert (extractor.precision, extractor.backend, extractor.undecided) == ("bf16", "torch", None)
    assert "auto: PyTorch bf16" in caplog.text and "--remeasure" in caplog.text
    torch.testing.assert_close(
        features, FeatureExtractor(*model, device="cpu", precision="bf16")(images)
    )
    assert auto(model)(images).equal(features) and measured == ["bf16"]
    assert "as measured before" in caplog.text
    auto(model, remeasure=True)(images)
    assert len(measured) == 2
    auto(model)(images[:1])  # another batch
    auto(model, options=["TEST.FLIP.ENABLED", "True"])(images)  # another config
    assert len(measured) == 4
    (file,) = [f for f in (cache / "choices").iterdir() if '"batch": 1' in f.read_text()]
    content = json.loads(file.read_text())
    assert (content["backend"], content["precision"]) == ("torch", "bf16")
    assert content["key"]["threads"] and content["key"]["versions"]["torch"] == torch.__version__
    file.write_text("{")  # cut
    auto(model)(images[:1])
    assert len(measured) == 5 and json.loads(file.read_text()) == content


def test_a_cache_that_cannot_be_written_costs_a_warning(
    model, tmp_path, measured, monkeypatch, caplog
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRANSREID_CACHE", str(tmp_path / "file"))
    assert auto(model)([picture(1)]).shape == (1, 576)
    assert "the choice is not kept" in caplog.text


def test_explicit_settings_measure_nothing(model, cache, measured) -> None:
    extractor = FeatureExtractor(*model, device="cpu", precision="fp32", backend="torch")
    assert extractor.undecided is None and extractor.precision == "fp32"
    assert not measured and not cache.exists()


def test_a_resumed_extraction_keeps_its_choice(model, cache, measured, tmp_path) -> None:
    write_odd_images(tmp_path / "images")
    items, out = list_images(tmp_path / "images"), tmp_path / "f.npz"
    extractor = auto(model, batch_size=2)
    extractor.extract = Interrupted(extractor.extract, 2)
    with pytest.raises(KeyboardInterrupt):
        extract_to_file(extractor, items, out, shard_size=4)
    whole = auto(model, batch_size=2)
    extract_to_file(whole, items, tmp_path / "whole.npz", shard_size=4)
    count = len(measured)
    # Another process, whose measurement would be another one, as it is not asked.
    resumed = auto(model, batch_size=2, remeasure=True)
    assert extract_to_file(resumed, items, out, shard_size=4).resumed == 4
    assert len(measured) == count and resumed.precision == "bf16"
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert read_meta(out)[0]["backend"] == "torch"
    with pytest.raises(UserError, match="another precision"):
        extract_to_file(FeatureExtractor(*model, device="cpu"), items, out, shard_size=4)


def test_auto_measures_for_real(model, cache, caplog) -> None:
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    caplog.set_level(logging.INFO, "transreid.inference.backends")
    images = [picture(seed) for seed in range(2)]
    extractor = FeatureExtractor(*model, device="cpu", precision="auto", backend="auto")
    features = extractor(images, [0, None])
    expected = FeatureExtractor(*model, device="cpu")(images, [0, None])
    assert (features * expected).sum(1).min() >= measuring.LEAST_COSINE
    for name in ("PyTorch fp32", "PyTorch bf16", "ONNX Runtime fp32"):
        assert name in caplog.text
    again = FeatureExtractor(*model, device="cpu", precision="auto", backend="auto")
    assert again(images, [0, None]).equal(features)
    graphs = [*(cache / "graphs").glob("*")]
    assert len(graphs) == (extractor.backend != "torch"), "a graph that was not chosen is removed"


def test_onnx_runtime_by_name(model, cache) -> None:
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    extractor = FeatureExtractor(*model, device="cpu", backend="onnxruntime")
    images = [picture(3), picture(4)]
    torch.testing.assert_close(
        extractor(images, 1), FeatureExtractor(*model, device="cpu")(images, 1), atol=1e-4, rtol=0
    )
    with pytest.raises(UserError, match="in fp32 alone, not in bf16"):
        FeatureExtractor(*model, device="cpu", backend="onnxruntime", precision="bf16")
    with pytest.raises(UserError, match=r"SIE\.UNKNOWN is error"):
        FeatureExtractor(
            *model,
            device="cpu",
            backend="onnxruntime",
            options=["MODEL.SIE.UNKNOWN", "error"],
        )


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_exported_files_are_read_by_the_extractor(suffix, model, tmp_path, capsys) -> None:
    packages = {".onnx": "onnxruntime", ".xml": "openvino", ".pt2": "torch"}
    pytest.importorskip(packages[suffix], reason=f"pip install {packages[suffix]}")
    path = tmp_path / f"model{suffix}"
    export_trained(path, *model)
    assert "apart" in capsys.readouterr().out
    images, camids = [picture(s, (90 + s, 41)) for s in range(3)], [2, None, 0]
    expected = FeatureExtractor(*model, device="cpu")(images, camids)
    extractor = FeatureExtractor("", path, batch_size=2)
    assert (extractor.backend, extractor.precision) == (packages[suffix], "fp32")
    assert extractor.feature_dim == expected.shape[1]
    torch.testing.assert_close(extractor(images, camids), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(ExportedModel(path)(images, camids), expected, atol=1e-4, rtol=0)
    with pytest.raises(UserError, match=r"camids holds 3, but the model knows 0\.\.2"):
        extractor(images, 3)
    write_odd_images(tmp_path / "images")
    items = list_images(tmp_path / "images")
    extract_to_file(extractor, items, tmp_path / "f.npz")
    about = read_meta(tmp_path / "f.npz")[0]
    assert about["weights"] == str(path) and about["backend"] == extractor.backend
    with pytest.raises(UserError, match="is an exported file; this needs the model itself"):
        extractor.model  # noqa: B018
    for wrong in ({"global_only": True}, {"options": ["TEST.FLIP.ENABLED", "True"]}):
        with pytest.raises(UserError, match="is as it was exported"):
            FeatureExtractor("", path, **wrong)


def test_openvino_with_weights_in_float16(model, tmp_path) -> None:
    pytest.importorskip("openvino", reason="pip install openvino")
    path = tmp_path / "half.xml"
    export_trained(path, *model, half=True)
    images = [picture(1), picture(2)]
    expected = FeatureExtractor(*model, device="cpu")(images)
    assert (FeatureExtractor("", path)(images) * expected).sum(1).min() > 0.9995
    try:
        lower = FeatureExtractor("", path, precision="bf16")
    except UserError as error:  # never float32 under another name
        assert "calculates in f32 on this processor" in str(error)
    else:
        assert lower.precision == "bf16"


A_SIGNAL_AFTER_OPENVINO = """
import gc, os, signal, sys
from transreid.inference.backends.openvino_runtime import OpenVino
signal.signal(signal.SIGINT, lambda *_: print("handled"))
models = [OpenVino(sys.argv[1]), OpenVino(sys.argv[1])]
while models:
    del models[0]
    gc.collect()
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_signal_after_openvino_is_handled(model, tmp_path) -> None:
    """Two Cores, freed in the order made, would leave a stack for signals that is freed, too."""
    pytest.importorskip("openvino", reason="pip install openvino")
    export_trained(tmp_path / "model.xml", *model)
    words = [sys.executable, "-c", A_SIGNAL_AFTER_OPENVINO, str(tmp_path / "model.xml")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_bad_requests(model, tmp_path) -> None:
    (tmp_path / "text.pt2").write_text("text")
    for weights, options, message in (
        (tmp_path / "no.onnx", {}, "there is no file"),
        (tmp_path / "text.pt2", {}, "no file of torch.export"),
        (tmp_path / "text.pt2", {"backend": "onnxruntime"}, "does not run"),
        (model[1], {"precision": "int4"}, "choose one of auto, fp32"),
        (model[1], {"precision": "int8"}, "tools/quantize.py"),
        (model[1], {"backend": "tensorrt"}, "choose one of auto, torch"),
        (model[1], {"backend": "auto", "precision": "fp16"}, "nothing to choose from on cpu"),
    ):
        with pytest.raises(UserError, match=message):
            FeatureExtractor(
                "" if weights != model[1] else model[0], weights, device="cpu", **options
            )
    with pytest.raises(UserError, match="half stores weights"):
        export_trained(tmp_path / "m.onnx", *model, half=True)


def test_a_missing_package_is_one_message(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"needs the package openvino.*pip install openvino"):
        export_trained(tmp_path / "m.xml", *model)
    (tmp_path / "m.xml").write_text("")
    with pytest.raises(UserError, match=r"needs the package openvino.*pip install openvino"):
        FeatureExtractor("", tmp_path / "m.xml")
