"""Unsigned activations for ONNX: the same scales and values, all zero points 128 higher.

ONNX Runtime's fast kernels on x86 take unsigned activations and signed weights.  Without VNNI they
add two products in 16 bits; `edgekit.quantize.saturation` sees to it that these do not overflow.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_SIGN = np.uint8(0x80)


def convert(model: ir.Model) -> None:
    """Make every signed 8-bit activation and its zero point unsigned; weights stay signed.

    So does what is gathered of them.
    """
    graph = model.graph
    signed = _apart(graph)
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.INT8 and value not in signed:
            value.const_value = _unsigned(tensor)
            value.type = ir.TensorType(ir.DataType.UINT8)
    for node in graph.all_nodes():
        if node.op_type == "Constant" and not node.domain and node.outputs[0] not in signed:
            tensor = node.attributes["value"].as_tensor() if "value" in node.attributes else None
            if tensor is not None and tensor.dtype == ir.DataType.INT8:
                node.attributes["value"] = ir.AttrTensor("value", _unsigned(tensor))
        for output in node.outputs:
            if output.dtype == ir.DataType.INT8 and signed.isdisjoint(node.inputs):
                output.type = ir.TensorType(ir.DataType.UINT8)


def _apart(graph: ir.Graph) -> set[ir.Value]:
    """Return the stored integers about zero, with zero points that no activation reads."""
    weights = [node for node in graph.all_nodes() if _is_about_zero(node, graph)]
    own: dict[ir.Value, ir.Value] = {}
    for node in weights:
        zero_point = node.inputs[2] if len(node.inputs) > 2 else None
        if zero_point is None:
            continue
        if zero_point not in own:
            alone = all(use.node in weights for use in zero_point.uses())
            own[zero_point] = zero_point if alone else _copy(graph, zero_point)
        node.replace_input_with(2, own[zero_point])
    tables = [
        value
        for value in graph.initializers.values()
        if any(use.node.op_type == "Gather" for use in value.uses())
    ]
    return {*own.values(), *tables, *filter(None, map(_source, weights))}


def _source(node: ir.Node) -> ir.Value | None:
    """Return what a node reads first, before it was turned."""
    value = node.inputs[0]
    before = value.producer() if value is not None else None
    turned = before is not None and before.op_type == "Transpose"
    return before.inputs[0] if before is not None and turned else value


def _is_about_zero(node: ir.Node, graph: ir.Graph) -> bool:
    """Whether a node dequantizes a weight; other constants may share an activation's scale."""
    stored = _source(node) if node.op_type == "DequantizeLinear" else None
    if stored is None or stored.name not in graph.initializers:
        return False
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    tensor = ir.convenience.get_const_tensor(zero_point) if zero_point is not None else None
    return tensor is None or not tensor.numpy().any()


def _copy(graph: ir.Graph, value: ir.Value) -> ir.Value:
    tensor = ir.convenience.get_const_tensor(value)
    made = ir.Value(name=f"{value.name}_of_weights", const_value=tensor)
    made.type, made.shape = value.type, value.shape
    graph.register_initializer(made)
    return made


def _unsigned(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().view(np.uint8) ^ _SIGN, name=tensor.name)
