"""Which layers suffer most from int8: the error of the feature when each one alone is quantised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reid_common.files import read_json, write_json
from reid_common.progress import shown

from ..inference.backends.onnx_runtime import session_of
from ..inference.extractor import FeatureExtractor
from ..inference.image_lists import ImageItem
from .graph import Graph
from .ranges import Ranges, batches
from .writing import quantised


def sensitivities(
    graph: Graph,
    ranges: Ranges,
    extractor: FeatureExtractor,
    items: Sequence[ImageItem],
    per_channel: bool,
    file: Path,
) -> dict[str, float]:
    """1 - cosine with the float32 feature, mean over images, by the name of the one int8 layer.

    Args:
        graph: smoothed or not, float32.
        ranges: of what its layers read.
        extractor: prepares the images.
        items: images.
        per_channel: see :func:`~.writing.quantised`.
        file: JSON in which measured layers are kept, so that a killed run does not repeat them.
    """
    known: dict[str, float] = read_json(file) if file.exists() else {}
    layers = [layer for layer in graph.layers() if layer.name not in known]
    if not layers:
        return known
    feeds = [*batches(extractor, items)]
    expected = _features(graph.model, feeds)
    for layer in shown(layers, "sensitivity", len(layers)):
        found = _features(quantised(graph, [layer], ranges, per_channel), feeds)
        known[layer.name] = float(1 - (found * expected).sum(1).mean())
        write_json(file, known)
    return known


def _features(model: Any, feeds: Sequence[dict[str, Any]]) -> np.ndarray:
    session = session_of(model.SerializeToString(), torch.get_num_threads())
    return np.concatenate([session.run(["features"], batch)[0] for batch in feeds])
