"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from reid_common.errors import UserError

from ...export.packages import package
from .backend import ONNX_RUNTIME


def session_of(graph: str | bytes, threads: int) -> Any:
    """A session on the CPU that logs errors alone.

    Args:
        graph: a .onnx file, or its content.
        threads: of a product of matrices; 0: ONNX Runtime's own choice.
    """
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class OnnxRuntime:
    """Runs a .onnx file; see :class:`~.backend.Runner`.

    Args:
        path: the file, which exists.
        threads: of a product of matrices; 0: ONNX Runtime's own choice.

    Attributes:
        session: ONNX Runtime's.

    Raises:
        UserError: onnxruntime is missing, or the file is no ONNX file.
    """

    backend = ONNX_RUNTIME

    def __init__(self, path: str, threads: int = 0) -> None:
        package("onnxruntime", f"reading {path!r}", "pip install onnxruntime")
        try:
            self.session = session_of(path, threads)
        except Exception as error:  # ONNX Runtime raises classes of its own
            reason = str(error).splitlines()[0]
            raise UserError(f"{path!r} is no ONNX file that can be run: {reason}") from error
        self.metadata = dict(self.session.get_modelmeta().custom_metadata_map)
        self.precision = self.metadata.get("precision", "fp32")
        self.inputs = [item.name for item in self.session.get_inputs()]
        fixed = self.session.get_inputs()[0].shape[0]
        self.batch = fixed if isinstance(fixed, int) else 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Features (B, D)."""
        return self.session.run(["features"], dict(feeds))[0]
