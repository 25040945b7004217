"""Operators that write into an argument, and those that return the same as a new tensor."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.fx import Graph, Node


def mutates(node: Node) -> bool:
    """Whether a node calls an operator that writes into its arguments."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def write_nothing(graph: Graph) -> bool:
    """Turn ``add_(x, y)`` into ``add(x, y)`` wherever nothing else sees what is written to x.

    It is called in the fake mode that the graph's descriptions of values belong to.

    Returns:
        Whether no operator of the graph writes any more.  What is left writes into an input, or
        into memory that other values of the graph share.
    """
    place = {node: index for index, node in enumerate(graph.nodes)}
    writers = [node for node in graph.nodes if mutates(node)]
    types: dict[Any, Any] = {}
    written_new = [_writes_new(node, place, types) for node in writers]
    return all(written_new)


def _writes_new(node: Node, place: dict[Node, int], types: dict[Any, Any]) -> bool:
    written: Any = node.args[0] if node.args else None
    counterpart = _counterpart(node.target)
    if counterpart is None or not hasattr(written, "users") or _is_shared(written, node, place):
        return False
    values = [_value(each) for each in node.all_input_nodes]
    kind = (counterpart, *((each.dtype, each.dim()) for each in values if hasattr(each, "dim")))
    if kind not in types:
        types[kind] = _value_of(node, counterpart).dtype
    if types[kind] != written.meta["val"].dtype:
        return False  # what is written keeps its type, whatever it is computed with
    node.target = counterpart
    written.replace_all_uses_with(node, delete_user_cb=lambda user: place[user] > place[node])
    return True


def _counterpart(writer: Any) -> Any:
    """Return the operator that computes what another writes into its first argument, or None."""
    import torch

    namespace, base, overload = f"{writer}..".split(".")[:3]
    if namespace != "aten" or not base.endswith("_"):
        return None
    return getattr(getattr(torch.ops.aten, base[:-1], None), overload, None)


def _is_shared(written: Node, writer: Node, place: dict[Node, int]) -> bool:
    """Whether a value shares memory with what it is made of, or with what was made of it before."""
    before = [user for user in written.users if place[user] < place[writer]]
    return written.op != "call_function" or any(map(_may_view, (written, *before)))


def _may_view(node: Node) -> bool:
    """Whether a result may lie in an argument's memory."""
    target: Any = node.target
    if target is operator.getitem:
        return _may_view(node.all_input_nodes[0])
    schema = getattr(target, "_schema", None)
    if schema is None or any(each.alias_info is not None for each in schema.returns):
        return True
    return is_composed_view(target)


def is_composed_view(target: Any) -> bool:
    """Whether PyTorch composes an operator of others, and may return an argument itself."""
    from torch._export.utils import _is_cia_op, _is_preservable_cia_op

    return _is_cia_op(target) and not _is_preservable_cia_op(target)


def _value_of(node: Node, called: Any = None) -> Any:
    """Return what a node gives, or would with another operator, as its fake mode describes it."""
    from torch.fx.node import map_arg

    arguments, keywords = map_arg((node.args, node.kwargs), _value)
    target: Any = called or node.target
    return target(*arguments, **keywords)


def _value(node: Node) -> Any:
    """Return the description of a node's value; of a constant the value."""
    if node.op == "get_attr" and "val" not in node.meta:
        return getattr(node.graph.owning_module, str(node.target))
    return node.meta["val"]
