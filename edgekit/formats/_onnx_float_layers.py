"""Layers that a recipe keeps in float between quantized ones, out of ONNX Runtime's reach.

A layer with float weights that reads a dequantized value, and whose result is quantized, gets its
weights quantized by ONNX Runtime when the model is loaded, with one scale per tensor.  It leaves
alone what reads a value with one scale per channel; so that value is dequantized for such a layer
by itself, with the same scale for every channel.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_LAYERS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1, "MatMul": -1}  # the input's channel axis


def keep(model: ir.Model) -> None:
    """Dequantize per channel what layers with float weights read."""
    for node in list(model.graph):
        axis = _LAYERS.get(node.op_type)
        if axis is None or node.domain or not _has_float_weights(node):
            continue
        value = node.inputs[0]
        source = value.producer() if value is not None else None
        if value is None or source is None or source.op_type != "DequantizeLinear":
            continue
        channels = value.shape[axis] if value.shape is not None else None
        if isinstance(channels, int):
            node.replace_input_with(0, _per_channel(model.graph, node, source, value, channels))


def _has_float_weights(node: ir.Node) -> bool:
    weight = node.inputs[1]
    return weight is not None and ir.convenience.get_const_tensor(weight) is not None


def _per_channel(
    graph: ir.Graph, layer: ir.Node, source: ir.Node, value: ir.Value, channels: int
) -> ir.Value:
    integers, scale, zero_point = source.inputs[:3]
    assert value.shape is not None
    spread = [
        _spread(graph, each, channels, f"{layer.name}_{name}")
        for each, name in ((scale, "scale"), (zero_point, "zero_point"))
    ]
    axis = _LAYERS[layer.op_type] % len(value.shape)
    node = ir.node("DequantizeLinear", [integers, *spread], attributes={"axis": axis})
    node.outputs[0].name = f"{value.name}_for_{layer.name}"
    node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    graph.insert_before(layer, node)
    return node.outputs[0]


def _spread(graph: ir.Graph, value: ir.Value | None, count: int, name: str) -> ir.Value:
    assert value is not None
    tensor = ir.convenience.get_const_tensor(value)
    assert tensor is not None
    array = np.full(count, tensor.numpy().reshape(-1)[0])
    spread = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    spread.type, spread.shape = ir.TensorType(tensor.dtype), ir.Shape([count])
    graph.register_initializer(spread)
    return spread
