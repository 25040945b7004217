"""Integer weights of layers whose activations are float, in ONNX.

A weight becomes a DequantizeLinear; of four bits, packed, and by blocks from opset 21 on.  Linear
layers become MatMul with the weight's rows and columns the way it reads them, which ONNX Runtime
fuses to its product with integer weights.  Dynamic ones quantize what they read, and multiply
integers; convolutions do not, for ONNX Runtime is slow at it.

Of a table of embeddings the integers that are asked for are gathered, with their scales, and become
floats.  Four bits are packed by hand, for ONNX gathers whole bytes.  What a layer reads as well is
stored as the table has it, and turned when the model is loaded.
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
        uses = tuple(value.uses())
        if weight.bits == 8 and {_is_lookup(*use) for use in uses} == {True, False}:
            work.shared.add(name)
        for node, index in uses:
            work.replace(node, index, name, weight)
        del model.graph.initializers[name]


@dataclass
class _Work:
    graph: ir.Graph
    quantized: dict[ir.Value, ir.Node] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)  # tables that layers read as well

    def replace(self, node: ir.Node, index: int, name: str, weight: IntegerWeight) -> None:
        """Let one reader of a weight read it as integers."""
        if _is_lookup(node, index):
            self._instead(node, self._rows(node, name, weight))
        elif node.op_type == "Transpose" and weight.data.dim() == 2:
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
        self._instead(node, result)

    def _instead(self, node: ir.Node, result: ir.Value) -> None:
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
        held = self._integers(node, name, weight, _unsigned(weight), turned=True)
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
        scale = weight.scale.numpy()
        if turned:
            scale = scale.T
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
        suffix = "_turned" if turned else ""
        inputs = [
            self._integers(before, name, weight, weight.data.numpy().astype(kind), turned=turned),
            self._initializer(f"{name}{suffix}_scale", np.ascontiguousarray(scale)),
            self._initializer(f"{name}{suffix}_zero", np.zeros(scale.shape, kind)),
        ]
        return self._put(before, "DequantizeLinear", inputs, attributes)

    def _rows(self, before: ir.Node, name: str, weight: IntegerWeight) -> ir.Value:
        """Return the rows of a table that a Gather asks for."""
        indices, size, width = before.inputs[1], weight.block_size, weight.data.shape[1]
        assert indices is not None
        assert indices.shape is not None
        as_they_are = [0] * len(indices.shape)  # for Reshape
        stored, zero = self._table(before, name, weight)
        rows = self._put(before, "Gather", [stored, indices])
        if stored.shape != ir.Shape(weight.data.shape):
            rows = self._unpacked(before, rows)
        rows = self._put(before, "Cast", [rows], {"to": ir.DataType.FLOAT.value})
        if zero:
            middle = self._initializer(f"rows_zero_{zero}", np.array(zero, np.float32))
            rows = self._put(before, "Sub", [rows, middle])
        if size is not None:
            rows = self._reshaped(before, rows, [*as_they_are, width // size, size])
        rows = self._put(before, "Mul", [rows, self._scales(before, name, weight)])
        return rows if size is None else self._reshaped(before, rows, [*as_they_are, width])

    def _table(self, before: ir.Node, name: str, weight: IntegerWeight) -> tuple[ir.Value, int]:
        """Return a table's integers, and which of them stands for zero."""
        width = weight.data.shape[1]
        if weight.bits == 4 and width % 2 == 0:
            nibbles = (weight.data.numpy() + 8).astype(np.uint8)
            data = nibbles[:, : width // 2] | nibbles[:, width // 2 :] << 4
            return self._initializer(f"{name}_packed", data), 8
        if weight.dynamic and name in self.shared:
            return self._integers(before, name, weight, _unsigned(weight), turned=False), 128
        return self._integers(before, name, weight, weight.data.numpy(), turned=False), 0

    def _unpacked(self, before: ir.Node, packed: ir.Value) -> ir.Value:
        """Take two integers out of each byte: the lower halves are the first half of a row."""
        lower = self._initializer("rows_lower_half", np.array(15, np.uint8))
        bits = self._initializer("rows_half", np.array(4, np.uint8))
        first = self._put(before, "BitwiseAnd", [packed, lower])
        second = self._put(before, "BitShift", [packed, bits], {"direction": "RIGHT"})
        return self._put(before, "Concat", [first, second], {"axis": -1})

    def _scales(self, before: ir.Node, name: str, weight: IntegerWeight) -> ir.Value:
        scale = weight.scale.numpy()
        if scale.size == 1:
            return self._initializer(f"{name}_scale_of_all", scale.reshape(()))
        shape = (len(scale), 1) if weight.block_size is None else (*scale.shape, 1)
        stored = self._initializer(f"{name}_scale_of_rows", scale.reshape(shape))
        return self._put(before, "Gather", [stored, before.inputs[1]])

    def _reshaped(self, before: ir.Node, value: ir.Value, shape: list[int]) -> ir.Value:
        name = f"rows_{'_'.join(map(str, shape))}"
        return self._put(before, "Reshape", [value, self._initializer(name, np.array(shape))])

    def _integers(
        self, before: ir.Node, name: str, weight: IntegerWeight, data: Any, *, turned: bool
    ) -> ir.Value:
        """Return the stored integers, `turned` with axes swapped."""
        kind = "" if data.dtype == np.int8 else f"_{data.dtype}"
        if turned and name not in self.shared:
            return self._initializer(f"{name}{kind}_turned", np.ascontiguousarray(data.T))
        held = self._initializer(f"{weight.source}{kind}", data)
        return self._put(before, "Transpose", [held], {"perm": [1, 0]}) if turned else held

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
        node.metadata_props.update(before.metadata_props)  # an override may name its layer
        self.graph.insert_before(before, node)
        return node.outputs[0]


def _is_lookup(node: ir.Node, index: int) -> bool:
    """Whether a node reads rows of what it is given there."""
    return node.op_type == "Gather" and index == 0 and not node.attributes.get_int("axis", 0)


def _unsigned(weight: IntegerWeight) -> Any:
    return weight.data.numpy().view(np.uint8) ^ np.uint8(0x80)


def _is_plain(gemm: ir.Node) -> bool:
    """Whether a Gemm computes ``x @ weight.T + bias`` and nothing else."""
    found = {name: attribute.value for name, attribute in gemm.attributes.items()}
    wanted = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    return all(found.get(name, 0 if "trans" in name else 1.0) == v for name, v in wanted.items())
