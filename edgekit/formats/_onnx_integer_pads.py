"""Pads between equal scales, on the integers themselves.

ONNX Runtime drops the pair of steps around what moves values, but not around `Pad`, whose filling
would have to become an integer.  Written here as the zero point, it is one.
"""

from __future__ import annotations

import onnx_ir as ir

_FILLING = 2  # place of the constant among a Pad's inputs


def convert(model: ir.Model) -> None:
    """Pad integers wherever a value is dequantized, padded, and quantized as it was."""
    for node in list(model.graph):
        if node.op_type == "Pad" and not node.domain:
            _convert(model.graph, node)


def _convert(graph: ir.Graph, pad: ir.Node) -> None:
    value = pad.inputs[0]
    before = value.producer() if value is not None else None
    after = [use.node for use in pad.outputs[0].uses()]
    if before is None or not after or pad.outputs[0] in graph.outputs:
        return
    scheme = _scheme(before, "DequantizeLinear")
    if scheme is None or any(_scheme(each, "QuantizeLinear") != scheme for each in after):
        return
    integers = before.inputs[0]
    assert integers is not None
    inputs = [integers, *pad.inputs[1:]]
    if pad.attributes.get_string("mode", "constant") == "constant":
        inputs[_FILLING:] = [before.inputs[2], *inputs[_FILLING + 1 :]]
    made = ir.node("Pad", inputs, attributes=pad.attributes)
    result = made.outputs[0]
    result.name = f"{pad.outputs[0].name}_quantized"
    result.type, result.shape = integers.type, pad.outputs[0].shape
    graph.insert_before(pad, made)
    for each in after:
        each.outputs[0].replace_all_uses_with(result)
    graph.remove([*after, pad], safe=True)
    if not before.outputs[0].uses():
        graph.remove(before, safe=True)


def _scheme(node: ir.Node, kind: str) -> tuple[bytes, ...] | None:
    """Return the scale and the zero point of a step; None where they are not one number each."""
    if node.op_type != kind or node.domain or len(node.inputs) < 3:
        return None
    tensors = [ir.convenience.get_const_tensor(value) for value in node.inputs[1:3] if value]
    numbers = [tensor.numpy() for tensor in tensors if tensor is not None]
    if len(numbers) < 2 or any(number.size != 1 for number in numbers):
        return None
    return tuple(number.tobytes() for number in numbers)
