"""Quantized graphs in the dialect that each converter asks for.

A quantized program holds integer weights and biases behind ``dequantize`` nodes.  Values do not
change here: only where the step from float to integer stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.ao.quantization.fx._decomposed

from edgekit.passes.graph import constant, name_of, replace_node
from edgekit.passes.last_step import LAYERS
from edgekit.quantize.constants import LOOKUP
from edgekit.quantize.precisions import base_name

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node


def dequantized_constants(exported: ExportedProgram) -> list[Node]:
    """Return the nodes that dequantize a weight or a bias."""
    stored = stored_tensors(exported)
    return [
        node
        for node in exported.graph.nodes
        if is_dequantize(node) and getattr(node.args[0], "name", None) in stored
    ]


def with_float_biases(exported: ExportedProgram) -> ExportedProgram:
    """Store biases as float, for a converter that takes no integer ones."""
    for node in dequantized_constants(exported):
        if _integer_type(node) is torch.int32:
            replace_node(exported, node, constant(exported, value_of(exported, node), weight=True))
    return exported


def with_quantize_nodes(exported: ExportedProgram) -> ExportedProgram:
    """Store weights and biases as float before a ``quantize`` node each."""
    for node in dequantized_constants(exported):
        source: Any = node.args[0]
        weight = constant(exported, value_of(exported, node), weight=True)
        target = _QUANTIZE[str(node.target)]
        with exported.graph.inserting_before(node):
            quantized = exported.graph.call_function(target, (weight, *node.args[1:]))
        quantized.meta = {**node.meta, "val": source.meta["val"]}
        node.args = (quantized, *node.args[1:])
    return exported


def with_float_recurrence(exported: ExportedProgram) -> None:
    """Store the integer weights of recurrent layers as float, for a format without such layers."""
    for node in list(exported.graph.nodes):
        if is_integer_weight(node) and all(name_of(user) in LAYERS for user in node.users):
            replace_node(exported, node, constant(exported, value_of(exported, node), weight=True))
    exported.graph_module.recompile()


@dataclass(frozen=True)
class IntegerWeight:
    """A weight of a layer whose activations are float; see `operators.integer_weight`.

    Attributes:
        source: The name of the integers in the store.
        is_table: Whether it is read by rows, and no layer multiplies by it.
    """

    source: str
    data: torch.Tensor
    scale: torch.Tensor
    bits: int
    dynamic: bool
    is_table: bool

    @property
    def block_size(self) -> int | None:
        """How many weights of a channel share a scale; None where a channel or more does."""
        if self.scale.dim() < 2 or self.scale.shape[1] in (1, self.data.shape[1]):
            return None
        return self.data.shape[1] // self.scale.shape[1]


def with_float_weights(
    exported: ExportedProgram, *, quantize: bool = False
) -> dict[str, IntegerWeight]:
    """Store integer weights as float, and return what they were, by their names in the store.

    With `quantize`, a quantize and a dequantize node come behind each, with one scale per channel:
    the true ones or, where blocks of a channel have their own, those of the first blocks.
    """
    found: dict[str, IntegerWeight] = {}
    for node in list(exported.graph.nodes):
        if not is_integer_weight(node):
            continue
        integers = _described(exported, node)
        value = _channelwise(integers) if quantize else value_of(exported, node)
        weight = constant(exported, value, weight=True)
        name = exported.graph_signature.inputs_to_buffers[weight.name]
        found[name] = integers
        replace_node(
            exported, node, _requantized(exported, node, weight, integers) if quantize else weight
        )
    exported.graph_module.recompile()
    return found


def _described(exported: ExportedProgram, node: Node) -> IntegerWeight:
    stored = stored_tensors(exported)
    arguments: Any = node.args
    data, scale, bits, dynamic = arguments
    source = exported.graph_signature.inputs_to_buffers[data.name]
    is_table = all(base_name(user) == LOOKUP for user in node.users)
    return IntegerWeight(source, stored[data.name], stored[scale.name], bits, dynamic, is_table)


def _channelwise(weight: IntegerWeight) -> torch.Tensor:
    scale = weight.scale[:, :1] if weight.block_size else weight.scale
    return weight.data.float() * scale


def _requantized(
    exported: ExportedProgram, before: Node, weight: Node, integers: IntegerWeight
) -> Node:
    scale = integers.scale[:, :1] if integers.block_size else integers.scale
    axis = next((axis for axis, size in enumerate(scale.shape) if size > 1), 0)
    if scale.numel() == 1:
        ends: tuple[Any, ...] = (float(scale), 0, -127, 127, torch.int8)
        steps = _Q.quantize_per_tensor.default, _Q.dequantize_per_tensor.default
    else:
        zeros = torch.zeros(scale.numel(), dtype=torch.int64)
        held = [constant(exported, each, weight=True) for each in (scale.reshape(-1), zeros)]
        ends = (*held, axis, -127, 127, torch.int8)
        steps = _Q.quantize_per_channel.default, _Q.dequantize_per_channel.default
    value: Any = weight
    for target in steps:
        with exported.graph.inserting_before(before):
            call = exported.graph.call_function(target, (value, *ends))
        call.meta = dict(before.meta)
        value = call
    value.args[0].meta["val"] = weight.meta["val"].to(torch.int8)
    result: Node = value
    return result


def is_integer_weight(node: Node) -> bool:
    """Whether a node gives the float value of integers that layers with float activations read."""
    return name_of(node) == "edgekit.integer_weight.default"


def is_dequantize(node: Any) -> bool:
    """Whether a node turns integers into floats by a scale and a zero point."""
    return str(getattr(node, "target", "")) in _QUANTIZE


def is_quantize(node: Any) -> bool:
    """Whether a node turns floats into integers by a scale and a zero point."""
    return str(getattr(node, "target", "")) in {str(each) for each in _QUANTIZE.values()}


def stored_tensors(exported: ExportedProgram) -> dict[str, torch.Tensor]:
    """Return what is stored in the program by the name of the node that brings it in."""
    signature = exported.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    stores = {**exported.state_dict, **exported.constants}
    names |= signature.inputs_to_lifted_tensor_constants
    return {node: stores[name] for node, name in names.items()}


def value_of(exported: ExportedProgram, node: Node) -> torch.Tensor:
    """Return the float value of a dequantized constant."""
    stored = stored_tensors(exported)
    args = [stored[a.name] if isinstance(a, torch.fx.Node) else a for a in node.args]
    target: Any = node.target
    result: torch.Tensor = target(*args)
    return result


def _integer_type(node: Node) -> torch.dtype:
    source: Any = node.args[0]
    dtype: torch.dtype = source.meta["val"].dtype
    return dtype


_Q = torch.ops.quantized_decomposed
_QUANTIZE = {  # dequantize -> the quantize that it undoes
    str(_Q.dequantize_per_channel.default): _Q.quantize_per_channel.default,
    str(_Q.dequantize_per_tensor.default): _Q.quantize_per_tensor.default,
    str(_Q.dequantize_per_tensor.tensor): _Q.quantize_per_tensor.tensor,
}
