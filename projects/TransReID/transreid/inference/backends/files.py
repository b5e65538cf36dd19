"""Which program runs which file of a graph."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from reid_common.errors import UserError

from .backend import AUTO, ONNX_RUNTIME, OPENVINO, TORCH, Runner, installed
from .onnx_runtime import OnnxRuntime
from .openvino_runtime import OpenVino
from .torch_program import TorchProgram

# Suffix -> backends that run it, the first where none is named
FILES = {".onnx": (ONNX_RUNTIME, OPENVINO), ".xml": (OPENVINO,), ".pt2": (TORCH,)}


VALIDATED = "quantization"  # metadata of int8 files: on what, and with what, they were validated


def is_graph(path: str | os.PathLike[str] | None) -> bool:
    """Whether a name is that of an exported file."""
    return path is not None and Path(path).suffix.lower() in FILES


def open_runner(
    path: str | os.PathLike[str],
    backend: str | None = None,
    threads: int = 0,
    precision: str = "fp32",
) -> Runner:
    """Open the file of a graph.

    Args:
        path: .onnx, .xml or .pt2.
        backend: a name of :data:`~.backend.BACKENDS`; None or "auto": the first that runs it; of an
            int8 file the fastest where it was made, of those with which it was validated.
        threads: of a product of matrices; 0: the program's own choice.
        precision: for OpenVINO, see there.

    Raises:
        UserError: no such file, another suffix, a backend that does not run it or is not installed.
    """
    path, suffix = os.fspath(path), Path(path).suffix.lower()
    if suffix not in FILES:
        raise UserError(f"{path!r} is no exported file; they end in {', '.join(FILES)}")
    if not os.path.isfile(path):
        raise UserError(f"there is no file {path!r}; tools/export_onnx.py writes one")
    chosen = FILES[suffix][0] if backend in (None, AUTO) else backend
    if chosen not in FILES[suffix]:
        raise UserError(
            f"backend {chosen!r} does not run {path!r}; {' or '.join(FILES[suffix])} does"
        )
    if chosen == TORCH:
        return TorchProgram(path)
    if chosen == ONNX_RUNTIME:
        runner = OnnxRuntime(path, threads)
        if backend == chosen or fastest_validated(runner.metadata) != OPENVINO:
            return runner
    return OpenVino(path, threads, precision)


def fastest_validated(metadata: Mapping[str, str]) -> str | None:
    """The fastest backend here that an int8 file was validated with; None: nothing is known."""
    known = json.loads(metadata.get(VALIDATED, "{}")).get("backends", [])
    return next((one for one in known if installed(one) and installed("onnx")), None)
