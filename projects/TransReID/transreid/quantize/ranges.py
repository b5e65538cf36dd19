"""Calibration: the range of each channel of what the layers read, over images of a data set.

The images go through the float32 graph in shards, which a resumed calibration does not repeat; the
ranges of all are the extremes of the shards, so that they are the same however often it was killed.

Letters: C channels of an activation, B images.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reid_common.column_files.npz import read_npz
from reid_common.digests import digest, images_digest
from reid_common.errors import UserError
from reid_common.progress import shown
from reid_common.shards import Shards, write_arrays

from ..inference.backends.onnx_runtime import session_of
from ..inference.extractor import FeatureExtractor
from ..inference.image_inputs import to_rgb
from ..inference.image_lists import ImageItem
from .graph import Graph

SHARD_SIZE = 32
SETTINGS = {"graph": "model", "images": "list of calibration images (or a file has changed)"}


@dataclass
class Ranges:
    """Smallest and largest value of each channel (C,), by the name of the tensor."""

    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]

    def whole(self, tensor: str) -> tuple[np.ndarray, np.ndarray]:
        """Range of all channels of a tensor: two numbers () float32, with 0 between them."""
        low, high = min(self.low[tensor].min(), 0.0), max(self.high[tensor].max(), 0.0)
        return np.array(low, np.float32), np.array(high, np.float32)

    def largest(self, tensor: str) -> np.ndarray:
        """Largest absolute value of each channel (C,)."""
        return np.maximum(np.abs(self.low[tensor]), np.abs(self.high[tensor]))


def calibrate(
    graph: Graph, extractor: FeatureExtractor, items: Sequence[ImageItem], folder: Path
) -> Ranges:
    """Ranges of the activations that the layers of a graph read.

    Args:
        graph: float32; it stays as it is.
        extractor: of the same graph: prepares the images.
        items: images.
        folder: of the shards.

    Raises:
        UserError: an image cannot be read, or the folder has shards of other images.
    """
    tensors = graph.activations()
    shards = Shards(folder, len(items), SHARD_SIZE)
    about = {
        "graph": digest([graph.model.SerializeToString(deterministic=True)]),
        "images": images_digest(items),
    }
    different = shards.begin(about, SETTINGS)
    if different:
        raise UserError(
            f"{str(folder)!r} is of a calibration with another {', another '.join(different)}; "
            "remove it, or choose another output"
        )
    missing = shards.missing()
    session = _watched(graph, tensors) if missing else None
    for number, rows in shown(missing, "calibrate", len(missing)):
        feeds = batches(extractor, [items[i] for i in rows])
        write_arrays(shards.file(number), _extremes(session, feeds))
    return _merged([shards.file(number) for number, _ in shards.ranges()], tensors)


def ranges_of(graph: Graph, feeds: Iterable[dict[str, Any]]) -> Ranges:
    """Ranges over batches in memory, inputs of the graph by name; nothing is kept."""
    tensors = graph.activations()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "all.npz"
        write_arrays(file, _extremes(_watched(graph, tensors), feeds))
        return _merged([file], tensors)


def _watched(graph: Graph, tensors: Sequence[str]) -> Any:
    """A session whose outputs are what the layers read."""
    onnx = importlib.import_module("onnx")
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    for name in tensors:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    return session_of(model.SerializeToString(), torch.get_num_threads())


def _extremes(session: Any, batches_of_shard: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Arrays of a shard: low0, high0 (C,), low1, ... in the order of the session's outputs."""
    found: dict[str, np.ndarray] = {}
    for feeds in batches_of_shard:
        for number, value in enumerate(session.run(None, feeds)):
            flat = value.reshape(-1, value.shape[-1])
            for name, extreme in ((f"low{number}", np.minimum), (f"high{number}", np.maximum)):
                own = extreme.reduce(flat, 0)
                found[name] = extreme(found[name], own) if name in found else own
    return found


def batches(extractor: FeatureExtractor, items: Sequence[ImageItem]) -> Iterator[dict[str, Any]]:
    """Yield inputs of the graph for listed images, in batches of the extractor or the graph."""
    model: Any = extractor.computes
    size = model.runner.batch or extractor.batch_size
    for start in range(0, len(items), size):
        part = items[start : start + size]
        images = torch.stack([extractor.transform(to_rgb(item.path)) for item in part])
        ids = torch.tensor([(item.camid, item.viewid) for item in part])
        for feeds, _ in model.batches(images, *ids.unbind(1)):
            yield feeds


def _merged(files: Sequence[Path], tensors: Sequence[str]) -> Ranges:
    ranges = Ranges({}, {})
    for file in files:
        names = [f"{end}{i}" for i in range(len(tensors)) for end in ("low", "high")]
        arrays = read_npz(file, names)
        for i, tensor in enumerate(tensors):
            low, high = arrays[f"low{i}"], arrays[f"high{i}"]
            ranges.low[tensor] = np.minimum(ranges.low.get(tensor, low), low)
            ranges.high[tensor] = np.maximum(ranges.high.get(tensor, high), high)
    for tensor in tensors:
        if not np.isfinite(ranges.largest(tensor)).all():
            raise UserError(f"{tensor} is not finite for some calibration images; nothing fits it")
    return ranges
