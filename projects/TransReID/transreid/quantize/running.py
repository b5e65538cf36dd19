"""From a float32 graph to an int8 one that is not inferior, or to a refusal with the table.

All that takes long lies in a folder beside the output until the int8 file is accepted: calibration,
sensitivities, the features of each attempt. The same command resumes there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.digests import differences, digest, file_digest
from reid_common.errors import UserError
from reid_common.files import read_json, write_json_once

from ..inference.backends.files import VALIDATED
from ..inference.extraction import extract_to_file
from ..inference.extractor import FeatureExtractor
from ..inference.feature_files import read_features
from ..inference.verification import check_rates
from .graph import Graph, Layer, read_graph
from .guarantee import Test, check_margin, check_meaning, compare
from .job import Attempt, Job, Outcome
from .ranges import Ranges, calibrate
from .sensitivity import sensitivities
from .smoothing import smooth
from .writing import quantised, write_graph

SENSITIVITY_IMAGES = 16
SETTINGS = {  # what a resumed run must agree in
    "model_sha256": "model",
    "recipe": "recipe",
    "calibration": "calibration images",
    "validation": "validation images",
    "backends": "list of backends",
}


def quantise(job: Job) -> Outcome:
    """Make the int8 file of a job, which appears if it is not inferior; else none is written.

    Raises:
        UserError: a model that cannot be int8, images that cannot be read, a folder of another job.
    """
    _begin(job)
    test = _test(job)
    extractor = job.extractor(job.model)
    expected = _features(job, extractor, "float32")
    check_meaning(expected, test)
    graph = read_graph(str(job.model))
    ranges = calibrate(graph, extractor, job.calibration, job.folder / "calibration")
    smoothed = smooth(graph, ranges) if job.recipe.smoothing else 0
    layers = graph.layers()
    outcome = Outcome(len(layers), smoothed)
    for kept in _steps(int(job.recipe.most_kept * len(layers))):
        if kept and not outcome.sensitivities:
            outcome.sensitivities = _sensitivities(job, graph, ranges, extractor)
        worst = sorted(outcome.sensitivities, key=lambda name: -outcome.sensitivities[name])[:kept]
        rest = [layer for layer in layers if layer.name not in worst]
        attempt = _attempt(job, graph, rest, worst, ranges, expected, test)
        outcome.attempts.append(attempt)
        if attempt.accepted:
            _accept(job, outcome)
            break
    return outcome


def _steps(most: int) -> list[int]:
    """Numbers of layers that go back to float32: 0, 1, 2, 4, ... and the most."""
    doubled = [2**i for i in range(most.bit_length()) if 2**i < most]
    return [0, *doubled, *([most] if most else [])]


def check_request(out: Path, margin: float, far: float) -> None:
    """Raise UserError for a name, margin or false accept rate that cannot work."""
    if out.suffix != ".onnx":
        raise UserError(f"--out {str(out)!r}: name it so that it ends in .onnx")
    check_margin(margin)
    check_rates([far])


def _begin(job: Job) -> None:
    check_request(job.out, job.margin, job.far)
    about: dict[str, Any] = {
        "model_sha256": file_digest(job.model),
        "recipe": asdict(job.recipe),
        "calibration": digest(json.dumps(item) for item in job.calibration),
        "validation": digest(json.dumps(item) for item in job.validation.items),
        "backends": [*job.backends],
    }
    file = job.folder / "settings.json"
    write_json_once(file, about)
    different = differences(read_json(file), about, SETTINGS)
    if different:
        raise UserError(
            f"{str(job.folder)!r} holds an unfinished quantisation with another "
            f"{', another '.join(different)}; remove the folder, or choose another output with -o"
        )


def _test(job: Job) -> Test:
    items = job.validation.items
    pids, camids = np.array([(item.pid, item.camid) for item in items]).T
    return Test(pids, camids, job.validation.num_query, job.margin, job.far)


def _features(job: Job, extractor: FeatureExtractor, name: str) -> np.ndarray:
    """Features (N, D) of the validation images."""
    out = job.folder / f"{name}.npz"
    report = extract_to_file(extractor, job.validation.items, out, job.num_workers, max_bad=0.0)
    found = read_features(out)
    assert len(found) == report.num_images == len(job.validation.items)
    return found.features


def _sensitivities(
    job: Job, graph: Graph, ranges: Ranges, extractor: FeatureExtractor
) -> dict[str, float]:
    items = job.calibration[:: max(1, len(job.calibration) // SENSITIVITY_IMAGES)]
    items = items[:SENSITIVITY_IMAGES]
    file = job.folder / "sensitivity.json"
    return sensitivities(graph, ranges, extractor, items, job.recipe.per_channel, file)


def _attempt(
    job: Job,
    graph: Graph,
    layers: Sequence[Layer],
    kept: list[str],
    ranges: Ranges,
    expected: np.ndarray,
    test: Test,
) -> Attempt:
    path = job.attempt(len(kept))
    write_graph(quantised(graph, layers, ranges, job.recipe.per_channel), path, _about(job))
    results = []
    for backend in job.backends:
        found = _features(job, job.extractor(path, backend), f"{path.stem}.{backend}")
        results += compare(expected, found, test, backend)
    return Attempt(kept, results)


def _about(job: Job) -> dict[str, str]:
    return {"precision": "int8", "float32_sha256": file_digest(job.model)}


def note_fastest(job: Job, backends: Sequence[str]) -> None:
    """Note in the accepted file in which order its backends are to be taken, the fastest first."""
    import onnx

    model = onnx.load(str(job.out))
    known = {item.key: item.value for item in model.metadata_props}[VALIDATED]
    about = {**json.loads(known), "backends": [*backends]}
    write_graph(model, job.out, {VALIDATED: json.dumps(about)})


def _accept(job: Job, outcome: Outcome) -> None:
    """Write the last attempt's file under its name, with what it was validated on."""
    import onnx

    last = outcome.attempts[-1]
    model = onnx.load(str(job.attempt(len(last.kept))))
    validated = {
        "calibration": job.names[0],
        "validation": job.names[1],
        "margin_points": 100 * job.margin,
        "far": job.far,
        "recipe": asdict(job.recipe),
        "kept_in_float32": last.kept,
        "backends": [*job.backends],
        "results": [asdict(result) for result in last.results],
    }
    write_graph(model, job.out, {VALIDATED: json.dumps(validated)})
    beside = job.model.with_name(f"{job.model.name}.metadata.json")  # BoxMOT's
    if beside.exists():
        shutil.copyfile(beside, job.out.with_name(f"{job.out.name}.metadata.json"))
