"""Take out an ``expand`` whose readers broadcast anyway.

``a * b.expand_as(a)`` computes what ``a * b`` does.  Written out, the broadcast costs every runtime
a copy, and the TFLite converter merges it with its changes of layout into shapes that do not match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import calls, name_of

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node


def run(exported: ExportedProgram) -> PassResult:
    """Let elementwise operators read what was expanded for them."""
    dropped = 0
    for node in calls(exported):
        if name_of(node) != "aten.expand.default":
            continue
        for user in [user for user in node.users if _broadcasts(user, node)]:
            user.replace_input_with(node, node.all_input_nodes[0])
            dropped += 1
    exported.graph.eliminate_dead_code()
    return PassResult(exported, dropped)


def _broadcasts(user: Node, expanded: Node) -> bool:
    """Whether an operator gives the same shape and type when it reads what was expanded."""
    import torch

    if torch.Tag.pointwise not in getattr(user.target, "tags", ()):
        return False
    source = expanded.all_input_nodes[0]
    shapes = [_shape(source if each is expanded else each) for each in user.all_input_nodes]
    wanted = _shape(user)
    if wanted is None or None in shapes or not _shape(source):
        return False  # a varying size, or a scalar, which would count less in type promotion
    known = [each for each in shapes if each is not None]
    return tuple(torch.broadcast_shapes(*known)) == wanted  # type: ignore[no-untyped-call]


def _shape(node: Node) -> tuple[int, ...] | None:
    value: Any = node.meta.get("val")
    shape = getattr(value, "shape", None)
    if shape is None or not all(isinstance(size, int) for size in shape):
        return None
    return tuple(shape)
