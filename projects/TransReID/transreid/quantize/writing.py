"""int8 graphs, written by ONNX Runtime's own quantiser: QDQ nodes around chosen layers.

Weights are symmetric with 7 of the 8 bits, a scale for each output channel; activations are
unsigned with one scale. With 8 bits the sums of two products overflow on processors without VNNI,
and what was validated on one processor would not hold on another. Outputs stay in float32.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_common.files import replacing

from .graph import PRODUCTS, Graph, Layer
from .ranges import Ranges


def quantised(
    graph: Graph, layers: Sequence[Layer], ranges: Ranges, per_channel: bool = True
) -> Any:
    """The ``ModelProto`` of a graph with these layers in int8.

    Args:
        graph: float32, smoothed or not; it stays as it is.
        layers: of it.
        ranges: of what they read.
        per_channel: a scale for each output channel of the weights; False: one for all.
    """
    onnx = importlib.import_module("onnx")
    tools = importlib.import_module("onnxruntime.quantization")
    calibration = importlib.import_module("onnxruntime.quantization.calibrate")
    writer = importlib.import_module("onnxruntime.quantization.qdq_quantizer")
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    found = {layer.activation: ranges.whole(layer.activation) for layer in layers}
    quantiser = writer.QDQQuantizer(
        model,
        per_channel=per_channel,
        reduce_range=True,
        weight_qType=tools.QuantType.QInt8,
        activation_qType=tools.QuantType.QUInt8,
        tensors_range=calibration.TensorsData(tools.CalibrationMethod.MinMax, found),
        nodes_to_quantize=[layer.name for layer in layers],
        nodes_to_exclude=[],
        op_types_to_quantize=[*PRODUCTS],
        extra_options={
            "WeightSymmetric": True,
            "ActivationSymmetric": False,
            "MatMulConstBOnly": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": [*PRODUCTS],
        },
    )
    quantiser.quantize_model()
    return quantiser.model.model


def write_graph(model: Any, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a graph, complete or not at all, with these text properties beside those it has."""
    onnx = importlib.import_module("onnx")
    known = {item.key: item.value for item in model.metadata_props}
    onnx.helper.set_model_props(model, {**known, **(metadata or {})})
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
