"""SmoothQuant (Xiao et al., ICML 2023, arXiv 2211.10438): outliers of activations into weights.

A few channels behind a LayerNorm of a ViT are many times larger than the others, so that one scale
for all leaves the others a handful of the 256 steps. Channel j is divided by

    s_j = max|X_j|^alpha / max|W_j|^(1 - alpha)        (equation 4)

and row j of the weights multiplied by it: the product is the same. The division costs nothing: it
goes into scale and bias of the LayerNorm. Where something else reads the LayerNorm too (a head, a
residual), nothing is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .graph import Graph, Layer
from .ranges import Ranges

ALPHA = 0.5
SMALLEST = 1e-5  # of a largest value, against division by 0


def smooth(graph: Graph, ranges: Ranges, alpha: float = ALPHA) -> int:
    """Smooth a graph in place, and the ranges with it; returns the number of layers."""
    by_name = {layer.name: layer for layer in graph.layers()}
    by_scale: dict[str, list[Any]] = {}
    for node in graph.model.graph.node:
        if node.op_type == "LayerNormalization" and len(node.input) > 2:
            by_scale.setdefault(node.input[1], []).append(node)
    count = 0
    for scale, norms in by_scale.items():  # a graph with TEST.FLIP has each of them twice
        layers = _readers(graph, norms, by_name)
        if layers and _owns(graph, scale, norms, layers):
            _fold(graph, ranges, norms[0], layers, alpha)
            count += len(layers)
    return count


def _readers(graph: Graph, norms: Sequence[Any], by_name: dict[str, Layer]) -> list[Layer]:
    """The layers that read these LayerNorms; [] where anything else does."""
    found: list[Layer] = []
    tensors = [node.output[0] for node in norms]
    while tensors:
        tensor = tensors.pop()
        if graph.is_output(tensor):
            return []
        for node in graph.consumers(tensor):
            if node.name in by_name and node.input[0] == tensor:
                found.append(by_name[node.name])
            elif _keeps_channels(graph, node):
                tensors.append(node.output[0])
            elif node.op_type != "Shape":  # which reads no value
                return []
    return found


def _keeps_channels(graph: Graph, node: Any) -> bool:
    """Whether a node takes some of the tokens, and all of their channels."""
    if node.op_type == "Gather":
        axis = {item.name: item.i for item in node.attribute}.get("axis", 0)
        return axis in (0, 1)
    if node.op_type != "Slice" or len(node.input) < 4:
        return False
    try:
        return set(graph.value(node.input[3]).tolist()) <= {0, 1}
    except KeyError:  # not a constant
        return False


def _owns(graph: Graph, scale: str, norms: Sequence[Any], layers: Sequence[Layer]) -> bool:
    """Whether scale, bias and weights are initializers that nothing else reads."""
    names = {node.name for node in norms}
    bias = {node.input[2] for node in norms}
    if len(bias) != 1 or not {scale, *bias} <= {*graph.initializers}:
        return False
    readers = {node.name for name in (scale, *bias) for node in graph.consumers(name)}
    of_weights = {node.name for layer in layers for node in graph.consumers(layer.weight)}
    return readers <= names and of_weights <= {layer.name for layer in layers}


def _fold(graph: Graph, ranges: Ranges, norm: Any, layers: Sequence[Layer], alpha: float) -> None:
    weights = {layer.weight: layer.transposed for layer in layers}
    rows = [_by_input(graph.value(name), flipped) for name, flipped in weights.items()]
    of_weights = np.max([np.abs(matrix).max(1) for matrix in rows], axis=0)
    of_values = np.max([ranges.largest(layer.activation) for layer in layers], axis=0)
    of_weights, of_values = np.maximum(of_weights, SMALLEST), np.maximum(of_values, SMALLEST)
    factors = (of_values**alpha / of_weights ** (1 - alpha)).astype(np.float32)
    for name in norm.input[1:3]:
        graph.replace(name, graph.value(name) / factors)
    for (name, flipped), matrix in zip(weights.items(), rows, strict=True):
        graph.replace(name, _by_input(matrix * factors[:, None], flipped))
    for tensor in {layer.activation for layer in layers}:
        ranges.low[tensor] = ranges.low[tensor] / factors
        ranges.high[tensor] = ranges.high[tensor] / factors


def _by_input(matrix: np.ndarray, flipped: bool) -> np.ndarray:
    """Weights (in, out), or back again."""
    return matrix.T.copy() if flipped else matrix
