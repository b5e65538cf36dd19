"""Our own reader of an exported model: images in, the features of ``FeatureExtractor`` out.

It runs in ONNX Runtime, and refuses a graph that was exported for another program.

Letters: N images, B images of a batch, D dimensions.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from reid_common.errors import UserError
from torch import Tensor

from ..inference.image_inputs import ImageInput, as_list, batch_entries, to_rgb
from .input_range import KINDS, InputRange
from .profiles import check_profile


class OnnxExtractor:
    """An exported model of the profile "plain" as a function from images to features.

    Args:
        path: file of tools/export_onnx.py.
        batch_size: images at once; that of the file, where it is fixed.
        threads: of ONNX Runtime; 0: its own choice.

    Attributes:
        session: ONNX Runtime's.
        metadata: text properties of the graph, see docs/export.md.

    Raises:
        UserError: no such file, no ONNX file, one of another profile; onnxruntime is missing.
    """

    def __init__(
        self, path: str | os.PathLike[str], batch_size: int = 64, threads: int = 0
    ) -> None:
        path = os.fspath(path)
        self.session = _session(path, threads)
        self.metadata = dict(self.session.get_modelmeta().custom_metadata_map)
        check_profile(path, self.metadata)
        kinds = {text: kind for kind, text in KINDS.items()}
        self._range = InputRange(kinds[self.metadata["color"]])
        height, width = json.loads(self.metadata["image_size"])
        self._size = (width, height)
        self._resample = Image.Resampling[_interpolation(self.metadata).upper()]
        self._inputs = [item.name for item in self.session.get_inputs()]
        fixed = self.session.get_inputs()[0].shape[0]
        self._fixed = fixed if isinstance(fixed, int) else 0
        self.batch_size = self._fixed or batch_size

    @property
    def feature_dim(self) -> int:
        """D."""
        return int(self.metadata["feature_dim"])

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
        camids: int | Sequence[int | None] | Tensor | None = None,
        viewids: int | Sequence[int | None] | Tensor | None = None,
    ) -> Tensor:
        """Features (N, D), float32, L2-normalised; arguments as for ``FeatureExtractor``."""
        inputs = as_list(images)
        given = {"camids": camids, "viewids": viewids}
        ids = {name: batch_entries(given[name], len(inputs), name) for name in given}
        rows = [np.empty((0, self.feature_dim), np.float32)]
        for start in range(0, len(inputs), self.batch_size):
            part = slice(start, start + self.batch_size)
            pixels = torch.stack([self._pixels(image) for image in inputs[part]])
            feeds = {"images": self._range.from_pixels(pixels).numpy()}
            feeds |= {name: np.array(ids[name][part], np.int64) for name in self._inputs[1:]}
            rows.append(self._run(feeds, len(pixels)))
        return torch.from_numpy(np.concatenate(rows))

    def _pixels(self, image: ImageInput) -> Tensor:
        picture = to_rgb(image).resize(self._size, self._resample)
        return torch.from_numpy(np.asarray(picture, np.float32).transpose(2, 0, 1).copy())

    def _run(self, feeds: dict[str, np.ndarray], count: int) -> np.ndarray:
        missing = max(0, self._fixed - count)
        if missing:  # the last image again, up to the fixed number
            feeds = {k: np.concatenate([v, v[-1:].repeat(missing, 0)]) for k, v in feeds.items()}
        return self.session.run(["features"], feeds)[0][:count]


def _interpolation(metadata: Mapping[str, str]) -> str:
    """How images are resized; files of before said it in the text of the transform alone."""
    found = re.search(r"interpolation=(\w+)", metadata["transform"])
    return metadata.get("interpolation") or (found[1] if found else "bilinear")


def _session(path: str, threads: int) -> Any:
    """ONNX Runtime's session for a file, on the CPU."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UserError(
            f"reading {path!r} needs the package onnxruntime ({error}); install it with: "
            "pip install onnxruntime"
        ) from error
    if not os.path.isfile(path):
        raise UserError(f"there is no file {path!r}; tools/export_onnx.py writes one")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own
        reason = str(error).splitlines()[0]
        raise UserError(f"{path!r} is no ONNX file that can be run: {reason}") from error
