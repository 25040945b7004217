"""Weights in fewer bits while activations stay float: done once on the graph, for every format.

Integer weights are symmetric: ``weight = scale * integer``.  Eight bits take the scale that spans
the largest weight; four bits the one of several with the smallest squared error.  The channels of a
table of embeddings are its rows, one for each word.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edgekit import passes
from edgekit.errors import ConversionError
from edgekit.layers import layer_of
from edgekit.passes.graph import constant
from edgekit.quantize import Quantization, operators, recurrent  # noqa: F401 - defines operators
from edgekit.quantize.constants import LOOKUP, weight_of
from edgekit.quantize.costs import lowest_sqnr, outputs_of
from edgekit.quantize.dialects import is_dequantize, stored_tensors
from edgekit.quantize.precisions import base_name, precision_of

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

    from edgekit.program import Program
    from edgekit.recipe import Precision, Recipe

_COMPRESSED = {
    f"edgekit.{name}.default" for name in ("integer_weight", "table_weight", "sparse_weight")
}
_SMALLEST = 2.0**-24
_SHRINKS = torch.linspace(0.7, 1.0, 13)  # of the scale that spans everything
_ROUNDS = 30  # of k-means; it has settled by then


def quantized(program: Program, recipe: Recipe) -> Program:
    """Return the program with its weights in other forms, and its own outputs as references.

    Raises:
        ConversionError: no layer has weights to quantize.
    """
    notes = quantize(program.exported, recipe)
    if not any(is_compressed(node) for node in program.exported.graph.nodes):
        raise ConversionError(
            f"Recipe {recipe.name} quantizes nothing in this model.",
            "It has no linear layer, convolution or table with constant weights: use fp32 or fp16.",
        )
    exported = passes.run(program.exported, ("drop_unused_weights",))[-1].exported
    outputs = outputs_of(exported, program)
    cost = lowest_sqnr(program.references, outputs)
    record = Quantization(None, 0, None, cost, notes)
    return replace(program, exported=exported, references=outputs, quantization=record)


def is_compressed(node: Node) -> bool:
    """Whether a node gives a weight that is stored in another form."""
    return str(node.target) in _COMPRESSED


def quantize(exported: ExportedProgram, recipe: Recipe) -> tuple[str, ...]:
    """Give the weights of layers with float activations the form that a recipe asks for.

    The program is changed.

    Returns:
        What a reader should know, one sentence each.
    """
    stored = stored_tensors(exported)
    made: dict[Any, Node] = {}
    channelwise: list[str] = []
    for node in list(exported.graph.nodes):
        weight = weight_of(node)
        tensor = stored.get(getattr(weight, "name", ""))
        precision = precision_of(node, recipe) if tensor is not None else None
        if tensor is None or precision is None or not precision.changes_weights_only:
            continue
        key = weight, precision, channel_axis(node)
        if key not in made:
            made[key] = _replacement(exported, node, tensor, precision)
            if precision.block_size and not _has_blocks(node, tensor, precision.block_size):
                channelwise.append(layer_of(node) or node.name)
        node.replace_input_with(weight, made[key])
    for node, weight, precision in recurrent.weights(exported.graph, recipe):
        if weight.name in stored:
            held = _replacement(exported, node, stored[weight.name], precision)
            node.replace_input_with(weight, held)
    exported.graph_module.recompile()
    return _notes(made, channelwise, recipe)


def keep_tables(exported: ExportedProgram) -> None:
    """Let lookups read integers that stand behind a dequantize node as weights, for every format.

    The program is changed.
    """
    made: dict[Node, Node] = {}
    for node in list(exported.graph.nodes):
        table = weight_of(node) if base_name(node) == LOOKUP else None
        if table is None or not is_dequantize(table):
            continue
        data, scale = table.args[0], stored_tensors(exported)[table.args[1].name]
        if data not in made:
            arguments = data, scale.reshape(-1, 1).float(), 8, False
            target = torch.ops.edgekit.integer_weight.default
            made[data] = _call(exported, node, target, arguments)
        node.replace_input_with(table, made[data])
    exported.graph.eliminate_dead_code()
    exported.graph_module.recompile()


def channel_axis(node: Node) -> int:
    """Return the axis of a weight that runs over output channels, or over groups of them."""
    transposed = base_name(node).startswith("conv_transpose")
    groups = node.args[6] if transposed and len(node.args) > 6 else 1
    return 1 if transposed and groups == 1 else 0


def _replacement(
    exported: ExportedProgram, node: Node, weight: Tensor, precision: Precision
) -> Node:
    weight = weight.detach().float()
    ops = torch.ops.edgekit
    if precision.has_integer_weights:
        bits = 8 if precision.weights == "int8" else 4
        data, scale = integers(weight, _grid(node, weight, precision), bits)
        arguments: tuple[Any, ...] = (data, scale, bits, precision.activations == "dynamic")
        return _call(exported, node, ops.integer_weight.default, arguments)
    if precision.weights in {"lut4", "lut6"}:
        bits = int(precision.weights[-1])
        indices, table = palettized(weight, 2**bits)
        return _call(exported, node, ops.table_weight.default, (indices, table, bits))
    return _call(exported, node, ops.sparse_weight.default, (pruned(weight, precision.sparsity),))


def _call(exported: ExportedProgram, node: Node, target: Any, arguments: tuple[Any, ...]) -> Node:
    held = [constant(exported, a, weight=True) if isinstance(a, Tensor) else a for a in arguments]
    with exported.graph.inserting_before(node):
        call: Node = exported.graph.call_function(target, tuple(held))
    call.meta = {k: v for k, v in node.meta.items() if k in {"nn_module_stack", "stack_trace"}}
    values = [each.meta["val"] if hasattr(each, "meta") else each for each in held]
    call.meta["val"] = target(*values)
    return call


# -- Blocks ----------------------------------------------------------------------------------------


def _has_blocks(node: Node, weight: Tensor, size: int) -> bool:
    """Whether blocks of input channels fill a weight: only in layers without a spatial extent."""
    flat = not base_name(node).startswith("conv_transpose")
    return flat and weight.shape[1] % size == 0 and weight[0, 0].numel() == 1


def _grid(node: Node, weight: Tensor, precision: Precision) -> list[int]:
    """Return how many scales there are along each axis."""
    grid = [1] * weight.dim()
    if precision.granularity == "tensor":
        return grid
    grid[channel_axis(node)] = weight.shape[channel_axis(node)]
    if precision.block_size and _has_blocks(node, weight, precision.block_size):
        grid[1] = weight.shape[1] // precision.block_size
    return grid


def integers(weight: Tensor, grid: list[int], bits: int) -> tuple[Tensor, Tensor]:
    """Return a weight as integers, and the scales that `grid` counts along each axis."""
    cut = [
        n for size, blocks in zip(weight.shape, grid, strict=True) for n in (blocks, size // blocks)
    ]
    values = weight.reshape(cut)
    inside = tuple(range(1, len(cut), 2))
    highest = 2 ** (bits - 1) - 1
    widest = values.abs().amax(inside, keepdim=True).clamp_min(_SMALLEST * highest) / highest

    def rounded(scale: Tensor) -> Tensor:
        return (values / scale).round().clamp(-highest, highest)

    scale = widest
    if bits < 8:
        tried = [widest * shrink for shrink in _SHRINKS]
        errors = [(rounded(s) * s - values).square().sum(inside, keepdim=True) for s in tried]
        scale = widest * _SHRINKS[torch.stack(errors).argmin(0)]
    return rounded(scale).to(torch.int8).reshape(weight.shape), scale.reshape(grid)


# -- Tables and zeros ------------------------------------------------------------------------------


def palettized(weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return indices into a table of so many values, and the table: k-means, from quantiles."""
    flat = weight.reshape(-1)
    ordered = flat.sort().values
    places = torch.linspace(0, len(flat) - 1, count).round().long()
    table = ordered[places]
    for _ in range(_ROUNDS):
        nearest = _nearest(flat, table)
        sums = torch.zeros(count).index_add_(0, nearest, flat)
        sizes = torch.bincount(nearest, minlength=count)
        table = torch.where(sizes > 0, sums / sizes.clamp_min(1), table).sort().values
    return _nearest(flat, table).to(torch.uint8).reshape(weight.shape), table


def _nearest(flat: Tensor, table: Tensor) -> Tensor:
    return torch.bucketize(flat, (table[1:] + table[:-1]) / 2)


def pruned(weight: Tensor, sparsity: float) -> Tensor:
    """Return a weight whose smallest values, so large a share of them, are zero."""
    count = int(weight.numel() * sparsity)
    if not count:
        return weight
    kept = weight.reshape(-1).clone()
    kept[kept.abs().topk(count, largest=False).indices] = 0
    return kept.reshape(weight.shape)


def _notes(made: dict[Any, Node], channelwise: list[str], recipe: Recipe) -> tuple[str, ...]:
    if not channelwise:
        return ()
    size = recipe.precision.granularity.replace("_", " of ")
    named = ", ".join(channelwise[:3]) + (" and others" if len(channelwise) > 3 else "")
    said = f"have one scale per channel, for no whole {size} input channels fit"
    return (f"{len(channelwise)} of {len(made)} layers {said} ({named})",)
