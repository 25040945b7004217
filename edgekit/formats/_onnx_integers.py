"""Pads, clamps and averages as integer kernels know them, between quantized values; biases.

ONNX Runtime drops the pair of steps around what moves values, but not around `Pad`, whose filling
would have to become an integer.  Written here as the zero point, it is one.  And it keeps a layer
in float whose ReLU is quantized in a range with negative values, as where a concatenation shares
its scale.  Cut at the zero point after the layer, the integers are the same.  Of averages it has an
integer kernel for those over whole images, by name of `GlobalAveragePool`, and a float mean where
channels are last is slow besides.  Biases, of 32 bits, have no zero point in ONNX: one of zeros
would be as large as the bias.
"""

from __future__ import annotations

import onnx_ir as ir

_FILLING = 2  # place of the constant among a Pad's inputs
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Add"}


def convert(model: ir.Model) -> None:
    """Rewrite what gives the same values in integers, and drop biases' zero points."""
    for node in list(model.graph):
        if node.op_type == "Pad" and not node.domain:
            _pad(model.graph, node)
        elif node.op_type == "Relu" and not node.domain:
            _clamp(model.graph, node)
        elif node.op_type == "ReduceMean" and not node.domain:
            _average(model.graph, node)
        elif node.op_type == "DequantizeLinear":
            _forget_zero_point_of_bias(node)


def _forget_zero_point_of_bias(step: ir.Node) -> None:
    stored = step.inputs[0]
    if stored is not None and stored.dtype == ir.DataType.INT32:
        step.resize_inputs(2)


def _pad(graph: ir.Graph, pad: ir.Node) -> None:
    """Pad the integers that are dequantized, padded, and quantized as they were."""
    value, after = pad.inputs[0], _readers(graph, pad)
    before = value.producer() if value is not None else None
    scheme = _scheme(before, "DequantizeLinear") if before is not None else None
    if before is None or scheme is None or not after or _common_scheme(after) != scheme:
        return
    integers = before.inputs[0]
    assert integers is not None
    inputs = [integers, *pad.inputs[1:]]
    if pad.attributes.get_string("mode", "constant") == "constant":
        inputs[_FILLING:] = [before.inputs[2], *inputs[_FILLING + 1 :]]
    made = ir.node("Pad", inputs, attributes=pad.attributes)
    result = _named_after(made, pad, integers)
    graph.insert_before(pad, made)
    for each in after:
        each.outputs[0].replace_all_uses_with(result)
    graph.remove([*after, pad], safe=True)
    if not before.outputs[0].uses():
        graph.remove(before, safe=True)


def _clamp(graph: ir.Graph, relu: ir.Node) -> None:
    """Quantize what a ReLU reads, and cut the integers at the zero point."""
    value, after = relu.inputs[0], _readers(graph, relu)
    layer = value.producer() if value is not None else None
    if value is None or layer is None or layer.op_type not in _LAYERS or len(value.uses()) > 1:
        return
    if not after or _common_scheme(after) is None:
        return
    first = after[0]
    zero_point = first.inputs[2]
    made = ir.node("Clip", [first.outputs[0], zero_point])
    result = _named_after(made, relu, first.outputs[0])
    for each in after:
        each.outputs[0].replace_all_uses_with(result)
    made.replace_input_with(0, first.outputs[0])
    first.replace_input_with(0, value)
    graph.insert_after(first, made)
    graph.remove([*after[1:], relu], safe=True)


def _average(graph: ir.Graph, mean: ir.Node) -> None:
    """Make a mean over whole images a pool; where it drops their axes, the integers do."""
    value, after = mean.inputs[0], _readers(graph, mean)
    maker = value.producer() if value is not None else None
    if value is None or maker is None or maker.op_type != "DequantizeLinear":
        return
    if not _is_over_images(mean, value) or not after or _common_scheme(after) is None:
        return
    pool, old = ir.node("GlobalAveragePool", [value]), mean.outputs[0]
    result = pool.outputs[0]
    result.name, old.name, result.type = old.name, None, old.type
    graph.insert_before(mean, pool)
    for each in after:
        each.replace_input_with(0, result)
    if not mean.attributes.get_int("keepdims", 1):
        for each in after:
            _squeeze(graph, each, mean.inputs[1])
    graph.remove(mean, safe=True)


def _squeeze(graph: ir.Graph, step: ir.Node, axes: ir.Value | None) -> None:
    """Drop the axes of what a step to integers gives."""
    integers = step.outputs[0]
    node = ir.node("Squeeze", [integers, axes])
    result = node.outputs[0]
    result.name, result.type = f"{integers.name}_squeezed", integers.type
    result.shape, integers.shape = integers.shape, None
    integers.replace_all_uses_with(result)
    node.replace_input_with(0, integers)
    graph.insert_after(step, node)


def _is_over_images(mean: ir.Node, value: ir.Value) -> bool:
    """Whether a mean is over all axes but the first two."""
    held = mean.inputs[1] if len(mean.inputs) > 1 else None
    axes = ir.convenience.get_const_tensor(held) if held is not None else None
    if axes is None or value.shape is None or len(value.shape) < 4:
        return False
    rank = len(value.shape)
    return sorted(int(axis) % rank for axis in axes.numpy()) == list(range(2, rank))


def _readers(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    """Return the nodes that read a result; none where it leaves the graph as well."""
    (result,) = node.outputs
    return [] if result in graph.outputs else [use.node for use in result.uses()]


def _named_after(made: ir.Node, node: ir.Node, integers: ir.Value) -> ir.Value:
    (result,) = made.outputs
    result.name = f"{node.outputs[0].name}_quantized"
    result.type, result.shape = integers.type, node.outputs[0].shape
    return result


def _common_scheme(steps: list[ir.Node]) -> tuple[bytes, ...] | None:
    """Return the scale and the zero point that all steps to integers have."""
    found = {_scheme(each, "QuantizeLinear") for each in steps}
    return found.pop() if len(found) == 1 else None


def _scheme(node: ir.Node, kind: str) -> tuple[bytes, ...] | None:
    """Return the scale and the zero point of a step; None where they are not one number each."""
    if node.op_type != kind or node.domain or len(node.inputs) < 3:
        return None
    tensors = [ir.convenience.get_const_tensor(value) for value in node.inputs[1:3] if value]
    numbers = [tensor.numpy() for tensor in tensors if tensor is not None]
    if len(numbers) < 2 or any(number.size != 1 for number in numbers):
        return None
    return tuple(number.tobytes() for number in numbers)
