"""Short names for the steps between float and integer, and no types that follow from their inputs.

A small network has more such steps than operators: spelled out they are a hundredth of its file.
"""

from __future__ import annotations

import itertools

import onnx_ir as ir

_LETTERS = {"QuantizeLinear": "q", "DequantizeLinear": "d"}
_SCALE = 1  # place among a step's inputs


def shorten(model: ir.Model) -> None:
    """Rename the steps and their results, and forget what readers of the file know anyway."""
    graph = model.graph
    kept = {*graph.inputs, *graph.outputs, *graph.initializers.values()}
    values = {value for node in graph.all_nodes() for value in node.outputs} | kept
    taken = {value.name for value in values}
    numbers = {letter: itertools.count() for letter in _LETTERS.values()}
    for node in graph.all_nodes():
        letter = _LETTERS.get(node.op_type)
        if letter is None or node.domain:
            continue
        _forget_axis(node)
        (result,) = node.outputs
        if result not in kept:
            names = (f"{letter}{number}" for number in numbers[letter])
            result.name = next(name for name in names if name not in taken)
            result.type = result.shape = None
        node.name = result.name


def _forget_axis(step: ir.Node) -> None:
    """Drop the axis of a step with one scale for the whole tensor: it has no meaning there."""
    held = step.inputs[_SCALE]
    scale = ir.convenience.get_const_tensor(held) if held is not None else None
    if scale is not None and not len(scale.shape):
        step.attributes.pop("axis", None)
