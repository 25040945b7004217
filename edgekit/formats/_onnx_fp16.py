"""Float16 computation inside an ONNX model whose inputs and outputs stay float32.

Every float32 value becomes float16, except where the operator's own schema has no float16 (e.g. the
scales of Resize, Range): there a Cast goes in between.  Weights are cast when they are written, one
by one, so the model never holds both copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.errors import ConversionError

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
_HALF_NAME = "tensor(float16)"
_DTYPE_ATTRIBUTES = ("to", "dtype")


def convert(model: ir.Model, opset: int, stays: Callable[[ir.Node], bool]) -> None:
    """Rewrite `model` in place, all but the nodes that `stays` names.

    Raises:
        ConversionError: the model has control flow, whose bodies this does not rewrite.
    """
    graph = model.graph
    casts: dict[ir.Value, ir.Value] = {}  # a value -> itself in the other precision
    for value in graph.initializers.values():
        shrinks = value.dtype == _FLOAT and not value.is_graph_input()
        if shrinks and not (value.uses() and all(stays(node) for node, _ in value.uses())):
            _shrink(value)
    for node in list(graph):
        if any(attribute.type in _GRAPHS for attribute in node.attributes.values()):
            raise ConversionError(
                f"Recipe fp16 does not reach into the body of ONNX {node.op_type} {node.name!r}.",
                "Use recipe fp32 for this format, or take the control flow out of the model.",
            )
        if stays(node):
            _read(node, lambda _index: _FLOAT, casts, graph)
        else:
            _rewrite(node, opset, casts, graph)
    for index, value in enumerate(list(graph.outputs)):
        if value.dtype == _HALF:
            graph.outputs[index] = _restore(value, graph)


_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _rewrite(node: ir.Node, opset: int, casts: dict[ir.Value, ir.Value], graph: ir.Graph) -> None:
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    was_float = [output.dtype == _FLOAT for output in node.outputs]

    def wanted(index: int) -> ir.DataType:
        return _HALF if _HALF_NAME in _types(schema.inputs, index) else _FLOAT

    _read(node, wanted, casts, graph)
    _retarget(node)
    for index, output in enumerate(node.outputs):
        if was_float[index] and _HALF_NAME in _types(schema.outputs, index):
            output.dtype = _HALF


def _read(
    node: ir.Node,
    wanted: Callable[[int], ir.DataType],
    casts: dict[ir.Value, ir.Value],
    graph: ir.Graph,
) -> None:
    """Cast what a node reads in another precision than it wants."""
    for index, value in enumerate(node.inputs):
        if value is None or value.dtype not in (_FLOAT, _HALF):
            continue
        if value.dtype != wanted(index):
            node.replace_input_with(index, _cast(value, wanted(index), node, casts, graph))


def _types(formals: Sequence[onnx.defs.OpSchema.FormalParameter], index: int) -> set[str]:
    return set(formals[min(index, len(formals) - 1)].types)


def _retarget(node: ir.Node) -> None:
    """Make a node that names float32, or holds a float32 constant, name or hold float16."""
    for name, attribute in list(node.attributes.items()):
        if name in _DTYPE_ATTRIBUTES and attribute.type == ir.AttributeType.INT:
            if attribute.value == _FLOAT.value:
                node.attributes[name] = ir.AttrInt64(name, _HALF.value)
        elif attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype == _FLOAT:
            half = saturated(attribute.value.numpy())
            node.attributes[name] = ir.AttrTensor(name, ir.tensor(half, name=attribute.value.name))


def _shrink(value: ir.Value) -> None:
    tensor = value.const_value
    assert tensor is not None

    def halve(tensor: ir.TensorProtocol = tensor) -> ir.TensorProtocol:
        return ir.tensor(saturated(tensor.numpy()), name=tensor.name)

    shape = ir.Shape(tensor.shape.numpy())
    value.const_value = ir.LazyTensor(halve, dtype=_HALF, shape=shape, name=tensor.name)
    value.dtype = _HALF


def saturated(array: np.ndarray) -> np.ndarray:
    """Return `array` in float16: large finite values clipped, a tiny scalar kept above zero.

    A mask's "most negative float32" must not become infinite, nor an epsilon zero.
    """
    clipped = np.where(np.isfinite(array), np.clip(array, -_LARGEST, _LARGEST), array)
    if array.size == 1 and 0 < np.abs(clipped).max() < _SMALLEST:
        clipped = np.copysign(_SMALLEST, clipped)
    return clipped.astype(np.float16).reshape(array.shape)


def _cast(
    value: ir.Value,
    dtype: ir.DataType,
    before: ir.Node,
    casts: dict[ir.Value, ir.Value],
    graph: ir.Graph,
) -> ir.Value:
    if value not in casts:
        node = _cast_node(value, dtype)
        graph.insert_before(before, node)
        casts[value] = node.outputs[0]
    return casts[value]


def _cast_node(value: ir.Value, dtype: ir.DataType) -> ir.Node:
    node = ir.node("Cast", [value], attributes={"to": dtype.value})
    node.outputs[0].dtype = dtype
    node.outputs[0].shape = value.shape
    node.outputs[0].name = f"{value.name}_{dtype.name.lower()}"
    return node


def _restore(value: ir.Value, graph: ir.Graph) -> ir.Value:
    """Return a float32 value that bears the name of the float16 graph output `value`."""
    name = value.name
    node = _cast_node(value, _FLOAT)
    graph.append(node)
    value.name = f"{name}_float16"
    node.outputs[0].name = name
    return node.outputs[0]
