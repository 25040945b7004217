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
    weights = _weights(graph)
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.INT8 and value not in weights:
            value.const_value = _unsigned(tensor)
            value.type = ir.TensorType(ir.DataType.UINT8)
    for node in graph.all_nodes():
        if node.op_type == "Constant" and node.domain == "":
            tensor = node.attributes["value"].as_tensor() if "value" in node.attributes else None
            if tensor is not None and tensor.dtype == ir.DataType.INT8:
                node.attributes["value"] = ir.AttrTensor("value", _unsigned(tensor))
        for output in node.outputs:
            if output.dtype == ir.DataType.INT8:
                output.type = ir.TensorType(ir.DataType.UINT8)


def _weights(graph: ir.Graph) -> set[ir.Value]:
    """Return the stored integers that are dequantized as they are, with their zero points."""
    found: set[ir.Value] = set()
    for node in graph.all_nodes():
        stored = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        if stored is not None and stored.name in graph.initializers:
            found |= {value for value in (stored, *node.inputs[2:]) if value is not None}
    return found


def _unsigned(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().view(np.uint8) ^ _SIGN, name=tensor.name)
