"""tools/quantize.py: smoothed and per channel it is accepted, carelessly it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupted import Interrupted
from outlier_models import with_outliers, write_identities
from reid_commands import quantize as command
from reid_common.errors import UserError
from small_inference import small_cfg, write_config, write_model
from transreid.deploy.trained import export_trained
from transreid.inference.exported_model import ExportedModel
from transreid.inference.extractor import FeatureExtractor
from transreid.inference.sources import graph_source
from transreid.quantize import ranges as calibration
from transreid.quantize import sensitivity
from transreid.quantize.graph import read_graph
from transreid.quantize.guarantee import Test, check_meaning, compare
from transreid.quantize.images import calibration_images, validation_images
from transreid.quantize.job import Attempt, Job, Outcome, Recipe
from transreid.quantize.ranges import calibrate
from transreid.quantize.running import _steps, note_fastest, quantise
from transreid.quantize.smoothing import smooth
from transreid.quantize.writing import write_graph

pytest.importorskip("onnx", reason="pip install onnx")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

BOTH = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A float32 graph of a model with outliers, for BoxMOT."""
    folder, cfg = tmp_path_factory.mktemp("model"), small_cfg(MODEL__SIE__CAMERA=False)
    weights = with_outliers(write_model(folder, cfg))
    path = folder / "float32.onnx"
    export_trained(path, write_config(folder, cfg), weights, profile="boxmot")
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    return write_identities(tmp_path_factory.mktemp("identities"))


def job_in(folder: Path, model: Path, dataset: str) -> Job:
    images = calibration_images(dataset, 12, ()), validation_images(dataset, ())
    return Job(model, folder / "int8.onnx", *images, 0.05, 0.02, (dataset, dataset))


@pytest.fixture
def job(model, dataset, tmp_path) -> Job:
    return job_in(tmp_path, model, dataset)


@pytest.fixture(scope="module")
def careful(model, dataset, tmp_path_factory) -> tuple[Job, Outcome]:
    """The job with the default recipe, done."""
    job = job_in(tmp_path_factory.mktemp("careful"), model, dataset)
    return job, quantise(job)


def cosines(job: Job, path: Path) -> torch.Tensor:
    """Of the features of two graphs for the validation images."""
    paths = [item.path for item in job.validation.items]
    first, second = (job.extractor(file)(paths) for file in (job.model, path))
    return (first * second).sum(1)


def test_a_careful_int8_model_is_accepted_and_keeps_its_profile(careful) -> None:
    job, outcome = careful
    assert outcome.accepted and outcome.num_smoothed > 0
    assert outcome.attempts[-1].kept == [], "nothing had to go back to float32"
    assert cosines(job, job.out).min() > 0.98
    about = job.extractor(job.out).computes.runner.metadata
    assert (about["precision"], about["profile"]) == ("int8", "boxmot")
    validated = json.loads(about["quantization"])
    assert validated["margin_points"] == 5 and len(validated["results"]) == 2
    sidecar = job.out.with_name("int8.onnx.metadata.json")
    assert sidecar.read_text() == (Path(f"{job.model}.metadata.json")).read_text()
    assert job.out.stat().st_size < 0.5 * job.model.stat().st_size
    with pytest.raises(UserError, match="--profile boxmot"):
        ExportedModel(job.out)
    with pytest.raises(UserError, match="is int8 already"):
        read_graph(str(job.out))


def test_a_careless_int8_model_is_refused(model, dataset, tmp_path, capsys) -> None:
    """One scale for all channels and no smoothing: the outliers leave the others no steps."""
    out = tmp_path / "careless.onnx"
    words = [str(model), "--calibration", dataset, "--validate", dataset, "-o", str(out)]
    words += ["--margin", "5", "--far", "0.02", "--num-workers", "0", "--rounds", "1"]
    words += ["--calibration-images", "12", "--per-tensor", "--no-smoothing", "--most-kept", "0"]
    assert command.main(words) == 1
    assert not out.exists()
    printed = capsys.readouterr().out
    assert "**Refused**" in printed and "| no " in printed and "int8, ONNX Runtime" in printed
    report = json.loads((tmp_path / "careless.onnx.report.json").read_text())
    assert not report["accepted"] and len(report["attempts"]) == 1
    assert report["attempts"][0]["results"][0]["difference"]["mean"] < -5
    assert report["smoothed"] == 0 and len(report["speed"]) >= 2


def test_layers_that_suffer_most_go_back_to_float32(job, monkeypatch) -> None:
    """Of a careless recipe those behind a LayerNorm, whose outliers no scale fits."""
    careless = replace(job, recipe=Recipe(per_channel=False, smoothing=False, most_kept=1.0))
    outcome = quantise(careless)
    assert outcome.accepted and len(outcome.attempts) > 2
    kept, layers = outcome.attempts[-1].kept, read_graph(str(job.model)).layers()
    errors = outcome.sensitivities
    assert set(errors) == {layer.name for layer in layers}
    assert min(errors[name] for name in kept) >= max(
        error for name, error in errors.items() if name not in kept
    )
    assert all("qkv" in name or "attn" in name or "fc1" in name for name in kept[:2])
    # The measured layers are kept: a second run measures none again.
    monkeypatch.setattr(sensitivity, "quantised", None)
    assert quantise(careless).sensitivities == errors
    with pytest.raises(UserError, match=r"unfinished quantisation with another recipe.*with -o"):
        quantise(job)


def test_smoothing_changes_no_feature(job, tmp_path) -> None:
    graph = read_graph(str(job.model))
    ranges = calibrate(graph, job.extractor(job.model), job.calibration, tmp_path / "shards")
    spread = [ranges.largest(layer.activation).max() for layer in graph.layers()]
    assert smooth(graph, ranges) == 8  # qkv and fc1 of a block; q, kv, fc1 of the two last ones
    smoothed = [ranges.largest(layer.activation).max() for layer in graph.layers()]
    assert max(smoothed) < max(spread) / 10
    write_graph(graph.model, tmp_path / "smooth.onnx")
    assert cosines(job, tmp_path / "smooth.onnx").min() > 1 - 1e-5


def test_a_killed_calibration_gives_the_same_ranges(job, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(calibration, "SHARD_SIZE", 5)  # three shards
    graph, extractor = read_graph(str(job.model)), job.extractor(job.model)
    whole = calibrate(graph, extractor, job.calibration, tmp_path / "whole")
    killed = Interrupted(calibration._extremes, 2)
    monkeypatch.setattr(calibration, "_extremes", killed)
    with pytest.raises(KeyboardInterrupt):
        calibrate(graph, extractor, job.calibration, tmp_path / "parts")
    killed.left = 1  # the third alone is missing
    again = calibrate(graph, extractor, job.calibration, tmp_path / "parts")
    for tensor, low in whole.low.items():
        np.testing.assert_array_equal(again.low[tensor], low)
        np.testing.assert_array_equal(again.high[tensor], whole.high[tensor])
    with pytest.raises(UserError, match="another list of calibration images"):
        calibrate(graph, extractor, job.calibration[1:], tmp_path / "parts")


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def features(noise: float, seed: int) -> np.ndarray:
    """Of 12 identities with a query and 3 gallery images each, queries first."""
    rng = np.random.default_rng(1)
    centres = np.tile(rng.normal(size=(12, 16)), (4, 1))
    rows = centres + noise * np.random.default_rng(seed).normal(size=centres.shape)
    return unit(rows)


def paired_test(margin: float = 0.005) -> Test:
    pids, camids = np.tile(np.arange(12), 4), np.repeat(np.arange(4), 12)
    return Test(pids, camids, 12, margin, 0.01)


def test_equal_models_are_not_inferior_and_worse_ones_are() -> None:
    good = features(0.3, 2)
    same = compare(good, good, paired_test())
    assert [x.measure for x in same] == ["mAP", "TPR at FAR 0.01"]
    assert all(x.accepted and x.difference.mean == x.difference.low == 0 for x in same)
    worse = compare(good, features(1.5, 3), paired_test())
    assert not worse[0].accepted and worse[0].difference.low < worse[0].difference.mean < -5
    better = compare(features(1.5, 3), good, paired_test())
    assert better[0].accepted and better[0].difference.low > 0
    broken = compare(good, np.full_like(good, np.nan), paired_test())
    assert not any(x.accepted for x in broken)
    assert not Attempt([], [same[0], worse[1]]).accepted


def test_a_small_mean_difference_that_is_not_sure_is_refused() -> None:
    """A mean within the margin does not do: its lower bound must be."""
    first, second = features(0.9, 2), features(0.9, 5)
    result = compare(first, second, paired_test(0.005))[0]
    assert abs(result.difference.mean) < 6 and result.difference.low < -0.5
    assert not result.accepted
    assert compare(first, second, paired_test(0.5))[0].accepted


def test_the_job_of_a_command_line(tmp_path, monkeypatch) -> None:
    """A checkpoint beside its config: exported once, with its cameras; the default output."""
    folder, cfg = tmp_path / "run", small_cfg(DATASETS__CAMERAS="('list:2',)")
    folder.mkdir()
    write_config(folder, cfg)
    weights = write_model(folder, cfg, num_cameras=2)
    dataset = write_identities(tmp_path / "images", 5)
    monkeypatch.chdir(tmp_path)
    words = [weights, "--calibration", dataset, "--validate", dataset, "--global-only"]
    job, model = command.job_of(command.parser().parse_args(words))
    assert model is not None and job.out == Path("model.int8.onnx")
    assert (job.margin, job.far, job.recipe) == (0.005, 0.001, Recipe())
    assert job.extractor(job.model).feature_dim == 192
    assert len(job.calibration) == 10 and job.validation.num_query == 5
    assert {item.camid for item in job.calibration} == {0, 1}, "rows of the model's table"
    before = job.model.stat().st_mtime_ns
    command.job_of(command.parser().parse_args(words))
    assert job.model.stat().st_mtime_ns == before, "it is exported once"
    with pytest.raises(UserError, match="as it was exported"):
        command.job_of(command.parser().parse_args([str(job.model), *words[1:]]))


def test_steps_double() -> None:
    assert _steps(0) == [0]
    assert _steps(1) == [0, 1]
    assert _steps(6) == [0, 1, 2, 4, 6]
    assert _steps(8) == [0, 1, 2, 4, 8]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"margin": 0.0}, "--margin 0: give percent points"),
        ({"far": 1.5}, "false accept rate"),
        ({"out": Path("int8.xml")}, "ends in .onnx"),
    ],
)
def test_bad_requests(job, change, message) -> None:
    with pytest.raises(UserError, match=message):
        quantise(replace(job, **change))


def test_a_model_too_weak_for_a_guarantee_is_refused() -> None:
    """Features of noise: no pair is accepted, and no int8 model could be worse."""
    noise, test = features(50.0, 4), paired_test()
    check_meaning(features(0.3, 2), test)
    with pytest.raises(
        UserError, match=r"TPR at FAR 0\.01 of float32 is .*any int8 model would pass"
    ):
        check_meaning(noise, replace(test, margin=0.1))


def test_too_few_identities_are_refused() -> None:
    test = paired_test()
    few = Test(test.pids % 3, test.camids, 12, 0.005, 0.01)
    with pytest.raises(UserError, match="fewer than 5 identities"):
        compare(features(0.3, 2), features(0.3, 2), few)


def test_a_file_is_validated_with_each_backend_and_opened_with_the_fastest(job) -> None:
    pytest.importorskip("openvino", reason="pip install openvino")
    outcome = quantise(replace(job, backends=BOTH))
    results = outcome.attempts[-1].results
    assert [x.backend for x in results] == ["onnxruntime"] * 2 + ["openvino"] * 2
    opened = FeatureExtractor.of(graph_source(str(job.out), any_profile=True))
    assert opened.backend == "onnxruntime"
    note_fastest(job, ["openvino", "onnxruntime"])
    found = FeatureExtractor.of(graph_source(str(job.out), any_profile=True), 8)
    assert (found.backend, found.precision) == ("openvino", "int8")
    paths = [item.path for item in job.validation.items]
    assert (found(paths) * job.extractor(job.model)(paths)).sum(1).min() > 0.97
    assert graph_source(str(job.out), "onnxruntime", any_profile=True).compute.precision == "int8"


def test_a_file_that_fails_with_one_backend_is_refused(job, monkeypatch) -> None:
    """The guarantee is one of each backend: here one gives noise."""
    real = Job.extractor

    def extractor(job: Job, path: Path, backend: str = "onnxruntime") -> FeatureExtractor:
        found = real(job, path)
        if backend == "openvino":
            noise = np.random.default_rng(0)
            monkeypatch.setattr(
                found.computes.runner,
                "run",
                lambda feeds: unit(noise.normal(size=(len(feeds["images"]), 576))),
            )
        return found

    monkeypatch.setattr(Job, "extractor", extractor)
    outcome = quantise(replace(job, backends=BOTH, recipe=Recipe(most_kept=0)))
    assert [x.accepted for x in outcome.attempts[0].results] == [True, True, False, False]
    assert not outcome.accepted and not job.out.exists()
