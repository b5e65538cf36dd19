"""An ONNX file as OpenVINO's own: .xml with the graph, .bin with the weights beside it.

Weights may be stored in float16, which halves the file; OpenVINO calculates in what the reader asks
for (float32, or bfloat16 and float16 where the processor has them). int8 needs no file of its own:
OpenVINO runs those of tools/quantize.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from reid_common.errors import UserError
from torch import Tensor

from .onnx_export import OnnxReport, largest_difference
from .packages import OPENVINO, openvino_core, package

SECTION = "reid"  # of OpenVINO's runtime information
LEAST_COSINE = 0.9995  # with weights in float16


def write_openvino(
    report: OnnxReport, path: Path, metadata: Mapping[str, str], half: bool = False
) -> OnnxReport:
    """Write the graph of a checked ONNX file as .xml and .bin, and hold it against PyTorch.

    Args:
        report: of the ONNX file.
        path: .xml; .bin is beside it.
        metadata: stored in the file.
        half: store weights in float16.

    Raises:
        UserError: openvino is missing; features differ by more than 1e-4, or with weights in
            float16 have a cosine below 0.9995.
    """
    openvino = package("openvino", "the export for OpenVINO", OPENVINO)
    core = openvino_core(openvino)
    model = core.read_model(str(report.path))
    for key, value in metadata.items():
        model.set_rt_info(value, [SECTION, key])
    new = path.with_name(f"{path.stem}.unchecked.xml")
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, str(new), compress_to_fp16=half)
    compiled = core.compile_model(str(new), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        return torch.from_numpy(compiled({k: v.numpy() for k, v in inputs.items()})[0].copy())

    kept = f"It is kept as {str(new)!r} for a look"
    if half:
        cosines = [float((run(x) * wanted).sum(1).min()) for x, wanted in report.examples]
        if not min(cosines) >= LEAST_COSINE:
            raise UserError(
                f"with weights in float16 a feature has a cosine of {min(cosines):.5f} with "
                f"PyTorch's, below {LEAST_COSINE}: leave --half out. {kept}"
            )
        difference = max(float((run(x) - wanted).abs().max()) for x, wanted in report.examples)
    else:
        difference = largest_difference(run, report.examples, "OpenVINO", kept)
    os.replace(new.with_suffix(".bin"), path.with_suffix(".bin"))
    os.replace(new, path)
    return OnnxReport(path, report.inputs, report.feature_dim, difference, report.examples)
