"""What Core ML cannot take or give at a model's border, changed on the graph and in its signature.

Core ML's tensors have one to five axes, 32 bits (below iOS 16) and one name each.  So a tensor
without axes becomes one of shape ``[1]``, leading axes beyond the fifth are joined, float16 is
widened; inside, the model computes as it did.  An output that is an input, a constant or another
output becomes a copy.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from edgekit.errors import LimitError
from edgekit.passes.graph import fake_mode
from edgekit.tensors import Signature, TensorSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

MOST_AXES = 5
_ATEN = torch.ops.aten
_CARRIED = {  # type in the model -> type at the border
    torch.float16: torch.float32,
    torch.int16: torch.int32,
    torch.int8: torch.int32,
    torch.uint8: torch.int32,
}


def fit_border(exported: ExportedProgram, signature: Signature) -> Signature:
    """Change the program's inputs and outputs to what Core ML has; return its signature then.

    Raises:
        LimitError: an input or output has more axes than Core ML knows, and some vary; or the
            model computes in bfloat16.
    """
    _refuse_bfloat16(exported)
    nodes = {node.name: node for node in exported.graph.nodes}
    first = next(node for node in exported.graph.nodes if node.op != "placeholder")
    with fake_mode(exported):
        for spec in signature.inputs:
            _fit_input(exported, nodes[spec.name], first, _shape(spec))
        _fit_outputs(exported, signature)
    exported.graph_module.recompile()
    inputs, outputs = (
        tuple(_fitted(spec) for spec in side) for side in (signature.inputs, signature.outputs)
    )
    return Signature(inputs, outputs)


def _refuse_bfloat16(exported: ExportedProgram) -> None:
    for node in exported.graph.nodes:
        if getattr(node.meta.get("val"), "dtype", None) is torch.bfloat16:
            raise LimitError(
                f"Core ML has no bfloat16, and {node.name} is a tensor of it.",
                "Convert model.float(), in recipe fp16 for half the size.",
            )


def _shape(spec: TensorSpec) -> list[int] | None:
    """Return the shape at the border where it is not the model's own."""
    if 1 <= len(spec.shape) <= MOST_AXES:
        return None
    sizes = [size for size in spec.shape if isinstance(size, int)]
    if len(sizes) < len(spec.shape):
        raise LimitError(
            f"{spec.name} has {len(sizes)} axes, some of them varying; Core ML knows "
            f"{MOST_AXES} axes.",
            "Join axes in the model, or give every size of this tensor a number.",
        )
    joined = len(sizes) - MOST_AXES + 1
    return [math.prod(sizes[:joined]), *sizes[joined:]] if sizes else [1]


def _fitted(spec: TensorSpec) -> TensorSpec:
    shape = _shape(spec)
    if shape is None:
        return spec
    source = tuple(size for size in spec.shape if isinstance(size, int))
    return replace(spec, shape=tuple(shape), source_shape=source)


def _fit_input(
    exported: ExportedProgram, node: Node, before: Node, shape: list[int] | None
) -> None:
    """Let a placeholder bring in what the border has; turn it into the model's own."""
    value = node.meta["val"]
    dtype = _CARRIED.get(value.dtype, value.dtype)
    readers = list(node.users)
    if shape is None and dtype is value.dtype:
        return
    node.meta["val"] = value.new_empty(shape or value.shape, dtype=dtype)
    inner = node
    with exported.graph.inserting_before(before):
        if value.dtype.is_floating_point and dtype is not value.dtype:
            inner = _call(exported, _ATEN._to_copy.default, inner, dtype=value.dtype)  # noqa: SLF001
        if shape is not None:
            inner = _call(exported, _ATEN.reshape.default, inner, list(value.shape))
    for reader in readers:
        reader.replace_input_with(node, inner)


def _fit_outputs(exported: ExportedProgram, signature: Signature) -> None:
    end = exported.graph.output_node()
    results: list[Any] = list(end.args[0])
    shapes = {spec.name: _shape(spec) for spec in signature.outputs}
    specs = [s for s in exported.graph_signature.output_specs if s.kind.name == "USER_OUTPUT"]
    offset = len(results) - len(specs)  # what the model writes into its buffers comes first
    taken: set[Any] = set()
    for place, (spec, named) in enumerate(zip(specs, signature.outputs, strict=True), offset):
        node = results[place]
        value = node.meta["val"]
        dtype, shape = _CARRIED.get(value.dtype, value.dtype), shapes[named.name]
        with exported.graph.inserting_before(end):
            if dtype is not value.dtype:
                node = _call(exported, _ATEN._to_copy.default, node, dtype=dtype)  # noqa: SLF001
            if shape is not None:
                node = _call(exported, _ATEN.reshape.default, node, shape)
            if node.op == "placeholder" or node in taken:
                node = _call(exported, _ATEN.clone.default, node)
        taken.add(node)
        results[place] = node
        spec.arg.name = node.name
    end.args = (tuple(results),)


def _call(exported: ExportedProgram, operator: Any, *args: Any, **kwargs: Any) -> Node:
    node: Node = exported.graph.call_function(operator, args, kwargs)
    values = [a.meta["val"] if hasattr(a, "meta") else a for a in args]
    node.meta["val"] = operator(*values, **kwargs)
    return node
