"""Take out operators that return what they are given.

``alias``, ``detach`` and ``contiguous`` mean something to autograd and to memory, but not to an
artifact; a dropout does nothing in evaluation mode; and a view to the shape that a tensor already
has is the author's way of being sure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import calls, name_of, replace_node

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node


def run(exported: ExportedProgram) -> PassResult:
    """Drop every operator that gives its first argument back unchanged, and all assertions."""
    dropped = 0
    for node in calls(exported):
        _free_of_strides(node)
        if _is_assertion(node):
            exported.graph.erase_node(node)
        elif _does_nothing(node) and not _names_an_output(node):
            replace_node(exported, node, node.args[0])  # type: ignore[arg-type]
        else:
            continue
        dropped += 1
    exported.graph.eliminate_dead_code()
    return PassResult(exported, dropped)


def _free_of_strides(node: Node) -> None:
    """Let a view be a reshape: the copy that made it possible may be about to go."""
    import torch

    if name_of(node) in ("aten.view.default", "aten._unsafe_view.default"):
        node.target = torch.ops.aten.reshape.default


def _is_assertion(node: Node) -> bool:
    base = name_of(node).partition(".")[2]
    return base.startswith(("_assert", "sym_constrain")) and not node.users


def _does_nothing(node: Node) -> bool:
    test = _TESTS.get(name_of(node).removeprefix("aten."))
    return test is not None and hasattr(node.args[0], "meta") and test(node)


def _names_an_output(node: Node) -> bool:
    """Whether the program's output would become an input, a weight or another output."""
    source: Any = node.args[0]
    is_output = any(user.op == "output" for user in node.users)
    return is_output and (
        source.op == "placeholder" or any(user.op == "output" for user in source.users)
    )


def _always(_node: Node) -> bool:
    return True


def _same_type(node: Node) -> bool:
    source: Any = node.args[0]
    return bool(source.meta["val"].dtype == node.meta["val"].dtype)


def _same_shape(node: Node) -> bool:
    source: Any = node.args[0]
    before, after = source.meta["val"].shape, node.meta["val"].shape
    return list(map(str, before)) == list(map(str, after))


def _in_order(node: Node) -> bool:
    dims: Any = node.args[1]
    return list(dims) == list(range(len(dims)))


def _not_training(node: Node) -> bool:
    return not node.args[2]


_TESTS: dict[str, Callable[[Node], bool]] = {
    "alias.default": _always,
    "clone.default": _always,
    "contiguous.default": _always,
    "detach.default": _always,
    "detach_.default": _always,
    "lift_fresh_copy.default": _always,
    "lift_fresh.default": _always,
    "to.dtype": _same_type,
    "to.dtype_layout": _same_type,
    "to.device": _same_type,
    "type_as.default": _same_type,
    "_to_copy.default": _same_type,
    "dropout.default": _not_training,
    "feature_dropout.default": _not_training,
    "alpha_dropout.default": _not_training,
    "expand.default": _same_shape,
    "view.default": _same_shape,
    "_unsafe_view.default": _same_shape,
    "reshape.default": _same_shape,
    "flatten.using_ints": _same_shape,
    "slice.Tensor": _same_shape,
    "narrow.default": _same_shape,
    "squeeze.default": _same_shape,
    "squeeze.dim": _same_shape,
    "squeeze.dims": _same_shape,
    "permute.default": _in_order,
}
