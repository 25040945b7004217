"""Compute now, once, what depends on no input: positions, masks, resized embeddings, weights.

No format's converter has to know how; and the device need not compute it again for every image.
A result is kept only if it is small or no larger than what it was computed from: a mask that was
broadcast to every head of every layer had better stay a broadcast.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import constant, name_of, replace_node
from edgekit.quiet import quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

_SMALL = 256 * 2**10  # bytes
_KEPT = ("quantize", "rand", "bernoulli", "multinomial", "normal", "empty")  # said or drawn anew


def run(exported: ExportedProgram) -> PassResult:
    """Replace every largest constant expression by its value."""
    known = _inputs(exported)
    weights = set(known) & set(exported.graph_signature.inputs_to_parameters)
    values: dict[Node, Any] = {n: known[n.name] for n in exported.graph.nodes if n.name in known}
    from_weights = {node for node in values if node.name in weights}
    folded: list[Node] = []
    with quiet():
        for node in exported.graph.nodes:
            if node.op != "call_function" or not _is_constant(node, values):
                continue
            value = _evaluate(node, values)
            if value is not None and _is_worth_keeping(value, node, values):
                values[node] = value
                folded.append(node)
                if any(each in from_weights for each in node.all_input_nodes):
                    from_weights.add(node)
    kept = set(folded)
    edges = [node for node in folded if any(user not in kept for user in node.users)]
    edges = [node for node in edges if not isinstance(values[node], tuple | list)]
    for node in edges:
        new = constant(exported, values[node], weight=node in from_weights)
        replace_node(exported, node, new)
    exported.graph.eliminate_dead_code()
    return PassResult(exported, len(edges))


def _inputs(exported: ExportedProgram) -> dict[str, Any]:
    """Return the constant inputs of the program by the names of their placeholders."""
    signature = exported.graph_signature
    written = {*signature.buffers_to_mutate.values()}
    stores = {**exported.constants, **exported.state_dict}
    return {
        spec.arg.name: stores[spec.target]
        for spec in signature.input_specs
        if spec.target in stores
        and spec.target not in written
        and hasattr(stores[spec.target], "untyped_storage")
    }


def _is_constant(node: Node, values: dict[Node, Any]) -> bool:
    """Whether a node is a pure function of constants."""
    if node.target is operator.getitem:
        return node.args[0] in values
    schema = getattr(node.target, "_schema", None)
    if schema is None or schema.is_mutable or "val" not in node.meta:
        return False
    if any(word in name_of(node) for word in _KEPT) or _reads_output(node):
        return False
    return all(each in values for each in node.all_input_nodes)


def _reads_output(node: Node) -> bool:
    return any(user.op == "output" for user in node.users)


def _evaluate(node: Node, values: dict[Node, Any]) -> Any:
    """Return a node's value, or None where PyTorch cannot compute it here."""
    import torch
    from torch.fx.node import map_arg

    args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
    target: Any = node.target
    try:
        with torch.no_grad():
            return target(*args, **kwargs)
    except (RuntimeError, NotImplementedError):
        return None


def _is_worth_keeping(value: Any, node: Node, values: dict[Node, Any]) -> bool:
    sources = [_bytes(values[each]) for each in node.all_input_nodes]
    return _bytes(value) <= max([_SMALL, *sources])


def _bytes(value: Any) -> int:
    if isinstance(value, tuple | list):
        return sum(map(_bytes, value))
    return int(value.numel() * value.element_size()) if hasattr(value, "numel") else 0
