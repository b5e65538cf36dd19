"""Export to ONNX: a trained model as one file that needs neither PyTorch nor this package.

The graph takes RGB images (B, 3, H, W), float32, 0..255, already resized to (H, W), or what another
consumer gives (profiles.py), normalises them itself and gives the features (B, D) float32,
L2-normalised, that ``FeatureExtractor`` gives. The batch size is free, unless the profile fixes it.
Cameras and viewpoints are inputs, or fixed in the file (onnx_model.py).

Of torch's two exporters this is the older one, by tracing: it alone is in every torch from 2.4 on,
needs no further package, and the graphs of both are equally fast in ONNX Runtime.

Letters: B images, D dimensions.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from reid_common.errors import UserError
from torch import Tensor, nn

from ..modeling.features import features_of
from .onnx_model import OnnxModel
from .packages import ONNX, package
from .profiles import Profile, find_profile
from .received import Received

OPSETS = range(14, 21)  # 14: attention's operators; 20: the last of the tracing exporter
TOLERANCE = 1e-4
CHECKED_BATCHES = (1, 2, 5)
MAX_BYTES = 2**31 - 1  # of one protobuf file

Example = tuple[dict[str, Tensor], Tensor]  # inputs of a graph by name, PyTorch's features (B, D)
Run = Callable[[Mapping[str, Tensor]], Tensor]  # from inputs by name to features (B, D)


@dataclass
class OnnxReport:
    """What was exported."""

    path: Path
    inputs: list[str]  # their names
    feature_dim: int  # D
    difference: float  # largest absolute difference of a feature's number from PyTorch's
    examples: list[Example] = field(default_factory=list, repr=False)  # what it was held against


@torch.no_grad()
def export_onnx(
    model: nn.Module,
    path: str | os.PathLike[str],
    image_size: Sequence[int],
    *,
    camera: int | str | None = None,
    view: int | str | None = None,
    flip: bool = False,
    profile: Profile | None = None,
    kernel: str = "bilinear",
    opset: int = 17,
    metadata: Mapping[str, str] | None = None,
) -> OnnxReport:
    """Write a model as ONNX and hold it against PyTorch, on batches of 1, 2 and 5 images (or the
    fixed size).

    Args:
        model: a built model with its weights; it stays as it is.
        path: file to write. It appears when it has passed the check.
        image_size: (H, W) in pixels.
        camera, view, flip: see :class:`OnnxModel`.
        profile: what the consumer gives; None: plain.
        kernel: how raw crops are resized, see :mod:`.resize`.
        opset: version of ONNX's operators, 14..20.
        metadata: stored with the graph, for who runs it.

    Raises:
        UserError: onnx or onnxruntime are missing, an argument that cannot work, or a file whose
            features differ from PyTorch's by more than 1e-4; it is kept as ``.unchecked.onnx``.
    """
    onnx, path = _package("onnx"), Path(path)
    _package("onnxruntime")
    if opset not in OPSETS:
        raise UserError(f"opset {opset}: choose one of {OPSETS[0]}..{OPSETS[-1]}")
    model = copy.deepcopy(model).cpu().float().eval()
    received = Received(profile or find_profile(), image_size, kernel)
    wrapped = OnnxModel(model, received, camera, view, flip).eval()
    if sum(p.numel() * 4 for p in wrapped.state_dict().values()) > MAX_BYTES:
        raise UserError("the weights are more than the 2 GiB that one ONNX file can hold")
    inputs = _example(wrapped, received.profile.batch or 2)
    unchecked = path.with_name(f"{path.stem}.unchecked.onnx")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _trace(wrapped, inputs, unchecked, opset)
        if received.profile.batch:
            _fold(unchecked)
        graph = onnx.load(str(unchecked))
        feature_dim = wrapped(*inputs.values()).shape[1]
        graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = feature_dim
        onnx.helper.set_model_props(graph, {"feature_dim": str(feature_dim), **(metadata or {})})
        onnx.checker.check_model(graph)
        onnx.save(graph, str(unchecked))
        examples = examples_of(model, wrapped)
        kept = f"It is kept as {str(unchecked)!r} for a look; try another opset"
        difference = largest_difference(_onnx_runtime(unchecked), examples, "ONNX Runtime", kept)
        os.replace(unchecked, path)
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    return OnnxReport(path, wrapped.inputs, feature_dim, difference, examples)


def _package(name: str) -> Any:
    return package(name, "the export to ONNX", ONNX)


def _example(wrapped: OnnxModel, batch: int) -> dict[str, Tensor]:
    """Noise, and ids of all kinds."""
    return {"images": wrapped.received.example(batch), **wrapped.examples(batch)}


def _trace(wrapped: OnnxModel, inputs: dict[str, Tensor], path: Path, opset: int) -> None:
    # torch 2.4 has no other exporter yet, and no argument to choose it.
    newer = "dynamo" in inspect.signature(torch.onnx.export).parameters
    choice: dict[str, Any] = {"dynamo": False} if newer else {}
    axes = {} if wrapped.received.profile.batch else {0: "batch"}
    with warnings.catch_warnings():
        # Of shapes that the tracer takes as constants, which those of the image and the tokens are;
        # and that a newer exporter exists.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            wrapped,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["features"],
            dynamic_axes={
                **{name: axes for name in [*inputs, "features"]},
                "images": wrapped.received.dynamic_axes(),
            },
            opset_version=opset,
            **choice,
        )


def _fold(path: Path) -> None:
    """Calculate what is constant when the batch is fixed, shapes above all, with ONNX Runtime.

    Runtimes for fixed shapes, as cv2.dnn, cannot calculate with shapes; nor know ONNX Runtime's own
    operators, of which there are none at this level.
    """
    runtime, onnx = importlib.import_module("onnxruntime"), importlib.import_module("onnx")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3  # it warns that the file is for this machine; at this level not
    runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(str(path))
    own = [item for item in graph.opset_import if not item.domain]
    del graph.opset_import[:]
    graph.opset_import.extend(own)
    onnx.save(graph, str(path))


def examples_of(model: nn.Module, wrapped: OnnxModel) -> list[Example]:
    """Batches of a graph, of 1, 2 and 5 images or the fixed number, and PyTorch's features."""
    found = []
    fixed = wrapped.received.profile.batch
    for batch in (fixed,) if fixed else CHECKED_BATCHES:
        inputs = _example(wrapped, batch)
        given = dict(inputs)
        for name, choice in (("camids", wrapped.camera), ("viewids", wrapped.view)):
            if name not in given:
                given[name] = torch.full((batch,), -1 if isinstance(choice, str) else choice)
        given["images"] = wrapped.received.pixels(given["images"])
        found.append((inputs, features_of(model, given, wrapped.flip)))
    return found


def largest_difference(run: Run, examples: Sequence[Example], program: str, remedy: str) -> float:
    """Largest difference of a number of ``program``'s features from those of the examples.

    Raises:
        UserError: it is above 1e-4; the message ends in ``remedy``.
    """
    largest = 0.0
    for inputs, expected in examples:
        difference = float((run(inputs) - expected).abs().max())
        if not difference <= TOLERANCE:  # NaN too
            raise UserError(
                f"{program}'s features of {len(expected)} image(s) differ from PyTorch's by "
                f"{difference:.1e}, more than {TOLERANCE:.0e}: the export is wrong. {remedy}"
            )
        largest = max(largest, difference)
    return largest


def _onnx_runtime(path: Path) -> Run:
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        feeds = {name: value.numpy() for name, value in inputs.items()}
        return torch.from_numpy(session.run(None, feeds)[0])

    return run
