"""OpenVINO on the CPU: its own files (.xml beside .bin) and ONNX files, int8 ones too.

An .xml holds our metadata as OpenVINO's "runtime information", under the name "reid".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from reid_common.errors import UserError

from ...export import packages
from ...export.openvino_export import SECTION
from .backend import OPENVINO

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVino:
    """Runs an .xml or .onnx file; see :class:`~.backend.Runner`.

    Args:
        path: the file, which exists.
        threads: of a product of matrices; 0: OpenVINO's own choice.
        precision: number format of what is not quantised: fp32, bf16 or fp16.

    Raises:
        UserError: openvino is missing, the file is none that it reads, or OpenVINO would calculate
            in float32 instead, because the processor lacks what was asked for.
    """

    backend = OPENVINO

    def __init__(self, path: str, threads: int = 0, precision: str = "fp32") -> None:
        openvino = packages.package(
            "openvino", f"reading {path!r} with OpenVINO", packages.OPENVINO
        )
        core = packages.openvino_core(openvino)
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "NUM_STREAMS": "1",
            **({"INFERENCE_NUM_THREADS": str(threads)} if threads else {}),
        }
        try:
            model = core.read_model(path)
            self._compiled: Any = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"{path!r} is no file that OpenVINO can run: {reason}") from error
        used = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if used != HINTS[precision]:
            raise UserError(
                f"OpenVINO calculates in {used} on this processor, not in {precision}; leave the "
                "precision out"
            )
        self.metadata = _metadata(model, path)
        known = self.metadata.get("precision", "fp32")
        self.precision = known if known == "int8" else precision
        self.inputs = [item.get_any_name() for item in model.inputs]
        first = model.inputs[0].get_partial_shape()[0]
        self.batch = 0 if first.is_dynamic else first.get_length()

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Features (B, D)."""
        return self._compiled(dict(feeds))[0].copy()


def _metadata(model: Any, path: str) -> dict[str, str]:
    if not path.endswith(".onnx"):
        found = model.get_rt_info([SECTION]).value if model.has_rt_info([SECTION]) else {}
        return {key: str(value) for key, value in found.items()}
    onnx = packages.package("onnx", f"reading the metadata of {path!r}", packages.ONNX)
    graph = onnx.load(path, load_external_data=False)
    return {item.key: item.value for item in graph.metadata_props}
