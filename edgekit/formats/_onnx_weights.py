"""Integer weights of layers whose activations are float, in ONNX.

A weight becomes a DequantizeLinear; of four bits, packed, and by blocks from opset 21 on.  Linear
layers become MatMul with the weight's rows and columns the way it reads them, which ONNX Runtime
fuses to its product with integer weights.  Dynamic ones quantize what they read, and multiply
integers; convolutions do not, for ONNX Runtime is slow at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from edgekit.errors import ConversionError
from edgekit.quantize.dialects import IntegerWeight


def store(model: ir.Model, weights: Mapping[str, IntegerWeight]) -> None:
    """Replace float initializers by the integer weights that they are the values of.

    Raises:
        ConversionError: the exporter has made something else of one.
    """
    work = _Work(model.graph)
    for name, weight in weights.items():
        value = model.graph.initializers.get(name)
        if value is None or not value.uses():
            raise ConversionError(
                f"The ONNX exporter rewrote the weight {name!r}: it cannot be stored as integers.",
                "Keep its layer in float with an override.",
            )
        for node, index in tuple(value.uses()):
            work.replace(node, index, name, weight)
        del model.graph.initializers[name]


@dataclass
class _Work:
    graph: ir.Graph
    quantized: dict[ir.Value, ir.Node] = field(default_factory=dict)

    def replace(self, node: ir.Node, index: int, name: str, weight: IntegerWeight) -> None:
        """Let one reader of a weight read it as integers."""
        if node.op_type == "Transpose" and weight.data.dim() == 2:
            for reader, place in tuple(node.outputs[0].uses()):
                if reader.op_type == "MatMul" and place == 1:
                    self._linear(reader, name, weight)
                else:
                    reader.replace_input_with(
                        place, self._dequantized(reader, name, weight, turned=True)
                    )
            self.graph.remove(node, safe=True)
        elif node.op_type == "Gemm" and index == 1 and _is_plain(node):
            self._linear(node, name, weight)
        else:
            node.replace_input_with(index, self._dequantized(node, name, weight, turned=False))

    def _linear(self, node: ir.Node, name: str, weight: IntegerWeight) -> None:
        x, bias = node.inputs[0], node.inputs[2] if len(node.inputs) > 2 else None
        if weight.dynamic:
            product = self._integer_product(node, x, name, weight)
        else:
            held = self._dequantized(node, name, weight, turned=True)
            product = self._put(node, "MatMul", [x, held])
        result = product if bias is None else self._put(node, "Add", [product, bias])
        old = node.outputs[0]
        result.name, old.name = old.name, None
        result.type, result.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)

    def _integer_product(self, node: ir.Node, x: Any, name: str, weight: IntegerWeight) -> ir.Value:
        """Multiply what is quantized now by unsigned weights: their kernels cannot overflow."""
        if x not in self.quantized:
            made = ir.node("DynamicQuantizeLinear", [x], num_outputs=3)
            self.graph.insert_before(node, made)
            for output, suffix in zip(made.outputs, ("quantized", "scale", "zero"), strict=True):
                output.name = f"{x.name}_{suffix}"
            self.quantized[x] = made
        integers, x_scale, x_zero = self.quantized[x].outputs
        data = weight.data.numpy().T.view(np.uint8) ^ np.uint8(0x80)
        held = self._initializer(f"{name}_integers", np.ascontiguousarray(data))
        scale = self._initializer(f"{name}_scale", weight.scale.numpy().reshape(-1))
        zero = self._initializer(f"{name}_zero", np.array(128, np.uint8))
        total = self._put(node, "MatMulInteger", [integers, held, x_zero, zero])
        cast = self._put(node, "Cast", [total], {"to": ir.DataType.FLOAT.value})
        both = self._put(node, "Mul", [x_scale, scale])
        return self._put(node, "Mul", [cast, both])

    def _dequantized(
        self, before: ir.Node, name: str, weight: IntegerWeight, *, turned: bool
    ) -> ir.Value:
        """Return the weight behind a DequantizeLinear of its own, `turned` with axes swapped."""
        suffix = "_turned" if turned else ""
        data, scale = weight.data.numpy(), weight.scale.numpy()
        if turned:
            data, scale = data.T, scale.T
        size = weight.block_size
        attributes = {}
        if size is not None:
            attributes = {"axis": 0 if turned else 1, "block_size": size}
        elif scale.size > 1:
            attributes = {"axis": int(np.argmax(scale.shape))}
            scale = scale.reshape(-1)
        else:
            scale = scale.reshape(())
        kind = ml_dtypes.int4 if weight.bits == 4 else np.int8
        inputs = [
            self._initializer(f"{name}{suffix}_integers", data.astype(kind)),
            self._initializer(f"{name}{suffix}_scale", np.ascontiguousarray(scale)),
            self._initializer(f"{name}{suffix}_zero", np.zeros(scale.shape, kind)),
        ]
        return self._put(before, "DequantizeLinear", inputs, attributes)

    def _initializer(self, name: str, array: Any) -> ir.Value:
        if name not in self.graph.initializers:
            tensor = ir.tensor(array, name=name)
            value = ir.Value(name=name, const_value=tensor)
            value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
            self.graph.register_initializer(value)
        return self.graph.initializers[name]

    def _put(
        self,
        before: ir.Node,
        kind: str,
        inputs: list[Any],
        attributes: dict[str, Any] | None = None,
    ) -> ir.Value:
        node = ir.node(kind, inputs, attributes=attributes or {})
        self.graph.insert_before(before, node)
        return node.outputs[0]


def _is_plain(gemm: ir.Node) -> bool:
    """Whether a Gemm computes ``x @ weight.T + bias`` and nothing else."""
    found = {name: attribute.value for name, attribute in gemm.attributes.items()}
    wanted = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    return all(found.get(name, 0 if "trans" in name else 1.0) == v for name, v in wanted.items())
