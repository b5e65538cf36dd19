"""Our own reader of an exported file: images in, the features of ``FeatureExtractor`` out.

It runs in ONNX Runtime, OpenVINO or PyTorch, and refuses a file that was exported for another
program. ``FeatureExtractor`` reads such files as well; this reader needs no camera table.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from .backends.backend import AUTO
from .backends.graph_model import GraphModel
from .image_inputs import ImageInput, as_list, batch_entries, to_rgb
from .sources import graph_source


class ExportedModel:
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
        self._source = graph_source(os.fspath(path), backend, threads=threads)
        compute = self._source.compute
        assert isinstance(compute, GraphModel)
        self.metadata = compute.runner.metadata
        self.batch_size = compute.runner.batch or batch_size

    @property
    def feature_dim(self) -> int:
        """D."""
        return self._source.feature_dim

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
        camids: int | Sequence[int | None] | Tensor | None = None,
        viewids: int | Sequence[int | None] | Tensor | None = None,
    ) -> Tensor:
        """Features (N, D), float32, L2-normalised; arguments as for ``FeatureExtractor``."""
        inputs = as_list(images)
        given = {"camids": camids, "viewids": viewids}
        ids = [torch.tensor(batch_entries(x, len(inputs), name)) for name, x in given.items()]
        rows = [torch.empty(0, self.feature_dim)]
        for start in range(0, len(inputs), self.batch_size):
            part = slice(start, start + self.batch_size)
            pixels = torch.stack([self._source.transform(to_rgb(image)) for image in inputs[part]])
            rows.append(self._source.compute(pixels, *(column[part] for column in ids)))
        return torch.cat(rows)


OnnxExtractor = ExportedModel  # its name before there were other files than ONNX
