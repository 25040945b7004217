"""Unsigned activations for ONNX: the same scales and values, all zero points 128 higher.

ONNX Runtime's fast kernels on x86 take unsigned activations and signed weights.  Without VNNI they
add two products in 16 bits; `edgekit.quantize.saturation` sees to it that these do not overflow.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_SIGN = np.uint8(0x80)


def convert(model: ir.Model) -> None:
    """Make every signed 8-bit activation and its zero point unsigned; weights stay signed."""
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
            if output.dtype == ir.DataType.INT8:
                output.type = ir.TensorType(ir.DataType.UINT8)


def _apart(graph: ir.Graph) -> set[ir.Value]:
    """Return the stored integers about zero, each with a zero point that nothing else reads."""
    found: set[ir.Value] = set()
    for node in list(graph.all_nodes()):
        stored = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        if stored is None or stored.name not in graph.initializers:
            continue
        zero_point = node.inputs[2] if len(node.inputs) > 2 else None
        tensor = ir.convenience.get_const_tensor(zero_point) if zero_point is not None else None
        if tensor is not None and tensor.numpy().any():
            continue  # a constant among the activations, which may share its scale
        found.add(stored)
        if zero_point is not None and tensor is not None and len(zero_point.uses()) > 1:
            own = ir.Value(name=f"{stored.name}_zero_point", const_value=tensor)
            own.type, own.shape = zero_point.type, zero_point.shape
            graph.register_initializer(own)
            node.replace_input_with(2, own)
        found |= {value for value in node.inputs[2:] if value is not None}
    return found


def _unsigned(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().view(np.uint8) ^ _SIGN, name=tensor.name)
