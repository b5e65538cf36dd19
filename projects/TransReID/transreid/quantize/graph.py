"""The layers of an ONNX graph that can be int8: products with constant matrices of weights.

Products of two activations, as in attention, stay in float32, and so does the patch convolution,
the first and smallest layer.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from reid_common.errors import UserError

PRODUCTS = ("MatMul", "Gemm")


@dataclass(frozen=True)
class Layer:
    """A product of an activation with a constant matrix.

    Attributes:
        name: of the node, which is unique.
        activation: tensor, whose last axis has the input channels.
        weight: initializer, (in, out), or (out, in) where ``transposed``.
    """

    name: str
    activation: str
    weight: str
    transposed: bool


class Graph:
    """An ONNX model, with what is asked of its nodes.

    Args:
        model: a ``ModelProto``; nodes without a name get one.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        self.initializers = {item.name: item for item in model.graph.initializer}
        self._constants = {
            node.output[0]: node.attribute[0].t
            for node in model.graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }
        self._consumers: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self._consumers.setdefault(name, []).append(node)
        self._outputs = {item.name for item in model.graph.output}

    def consumers(self, tensor: str) -> list[Any]:
        """Nodes that read a tensor."""
        return self._consumers.get(tensor, [])

    def is_output(self, tensor: str) -> bool:
        """Whether a tensor is an output of the graph."""
        return tensor in self._outputs

    def value(self, name: str) -> np.ndarray:
        """A constant or an initializer; KeyError for other tensors."""
        tensor = self.initializers.get(name) or self._constants[name]
        return importlib.import_module("onnx").numpy_helper.to_array(tensor)

    def replace(self, name: str, value: np.ndarray) -> None:
        """Give an initializer another value of its shape and type."""
        helper = importlib.import_module("onnx").numpy_helper
        old = self.initializers[name]
        old.CopyFrom(helper.from_array(value.astype(helper.to_array(old).dtype), name))

    def layers(self) -> list[Layer]:
        """Layers that can be int8, in the order of the graph."""
        return list(self._layers())

    def activations(self) -> list[str]:
        """Tensors that these layers read, each once."""
        return list(dict.fromkeys(layer.activation for layer in self._layers()))

    def _layers(self) -> Iterator[Layer]:
        for node in self.model.graph.node:
            if node.op_type not in PRODUCTS or node.input[1] not in self.initializers:
                continue
            given = {item.name: item for item in node.attribute}
            transposed = bool("transB" in given and given["transB"].i)
            if len(self.initializers[node.input[1]].dims) != 2 or (
                "transA" in given and given["transA"].i
            ):
                continue
            yield Layer(node.name, node.input[0], node.input[1], transposed)


def read_graph(path: str) -> Graph:
    """Read a float32 ONNX file.

    Raises:
        UserError: it is int8 already, or has no layer that can be int8.
    """
    model = importlib.import_module("onnx").load(path)
    metadata = {item.key: item.value for item in model.metadata_props}
    if metadata.get("precision", "fp32") != "fp32":
        raise UserError(f"{path!r} is {metadata['precision']} already; name the float32 model")
    graph = Graph(model)
    if not graph.layers():
        raise UserError(f"{path!r} has no product with constant weights: nothing can be int8")
    return graph
