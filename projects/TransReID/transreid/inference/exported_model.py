"""Our own reader of an exported file: images in, the features of ``FeatureExtractor`` out.

It runs in ONNX Runtime, OpenVINO or PyTorch, and refuses a file that was exported for another
program.
"""

from __future__ import annotations

import os

import torch

from .backends.backend import AUTO
from .backends.graph_model import GraphModel
from .extractor import FeatureExtractor
from .sources import graph_source


class ExportedModel(FeatureExtractor):
    """An exported model of the profile "plain" as a function from images to features.

    Args:
        path: file of tools/export_onnx.py or tools/quantize.py: .onnx, .xml or .pt2.
        batch_size: images at once; that of the file, where it is fixed.
        threads: of a product of matrices; 0: the program's own choice.
        backend: "onnxruntime", "openvino" or "torch"; "auto": the first that runs the file.

    Attributes:
        metadata: text properties of the graph, see docs/export.md.

    Raises:
        UserError: no such file, none that can be run, one of another profile; the program that runs
            it is missing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        batch_size: int = 64,
        threads: int = 0,
        backend: str = AUTO,
    ) -> None:
        self.device = torch.device("cpu")
        self._source = graph_source(os.fspath(path), backend, threads=threads)
        assert isinstance(self.computes, GraphModel)
        self.metadata = self.computes.runner.metadata
        self.batch_size = self.computes.runner.batch or batch_size


OnnxExtractor = ExportedModel  # its name before there were other files than ONNX
