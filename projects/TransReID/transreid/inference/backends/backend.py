"""What every backend is: a function from a batch of pixels and ids to features.

Letters: B images, D dimensions of the feature, H, W pixels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

AUTO = "auto"
TORCH, ONNX_RUNTIME, OPENVINO = "torch", "onnxruntime", "openvino"
BACKENDS = {  # by name, as tables show them
    TORCH: "PyTorch",
    ONNX_RUNTIME: "ONNX Runtime",
    OPENVINO: "OpenVINO",
}


class Backend(Protocol):
    """What computes features.

    Attributes:
        backend: a name of :data:`BACKENDS`.
        precision: number format of matrix products: fp32, bf16, fp16 or int8.
    """

    @property
    def backend(self) -> str:
        """Its name."""
        ...

    @property
    def precision(self) -> str:
        """Its number format."""
        ...

    def __call__(self, images: Tensor, camids: Tensor, viewids: Tensor) -> Tensor:
        """Features (B, D), float32 on the CPU, L2-normalised.

        Args:
            images: (B, 3, H, W), RGB of 0..255, of the model's size.
            camids: (B,) int64, 0-based, negative = unknown; ignored where the model has no cameras.
            viewids: likewise for viewpoints.
        """
        ...


class Runner(Protocol):
    """A program that runs the file of a graph.

    Attributes:
        backend, precision: as :class:`Backend` has them.
        metadata: text properties of the file, see docs/export.md.
        inputs: names of the graph's inputs, "images" first.
        batch: number of images that the graph takes at once; 0: any.
    """

    backend: str
    precision: str
    metadata: dict[str, str]
    inputs: list[str]
    batch: int

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Features (B, D) of what the graph takes, by the names of its inputs."""
        ...


def installed(backend: str) -> bool:
    """Whether the package of a backend is installed."""
    return importlib.util.find_spec(backend) is not None


def shown(backend: str, precision: str) -> str:
    """Text of a setting in messages and tables: "ONNX Runtime fp32"."""
    return f"{BACKENDS[backend]} {precision}"
