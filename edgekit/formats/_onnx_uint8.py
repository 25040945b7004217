"""Unsigned integers for ONNX: the same scales and values, all zero points 128 higher.

On x86 without VNNI, ONNX Runtime multiplies unsigned activations by signed weights with an
instruction that saturates at 16 bits, and so returns wrong sums without a word; it also makes
signed activations unsigned by itself.  Unsigned weights take another kernel, exact everywhere.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_SIGN = np.uint8(0x80)


def convert(model: ir.Model) -> None:
    """Make every signed 8-bit weight and zero point unsigned, and the values between them."""
    graph = model.graph
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.INT8:
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


def _unsigned(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().view(np.uint8) ^ _SIGN, name=tensor.name)
