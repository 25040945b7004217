"""The weights that layers of a graph read, and what observes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from edgekit.quantize.precisions import base_name

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node


# Operators with weights, without the ``aten.`` and the overload.
WEIGHTED = {
    *("conv1d", "conv2d", "conv3d", "linear"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
}
LOOKUP = "embedding"  # reads rows of its weight, a table, and computes nothing


def weight_of(node: Node) -> Any:
    """Return what a node takes as its weight; None for an operator without one."""
    name = base_name(node)
    if name == LOOKUP:
        return node.args[0]
    return node.args[1] if name in WEIGHTED else None


def value_of(module: GraphModule, node: Any) -> Tensor:
    """Return the constant that a node brings in."""
    owner, name = _home(module, node)
    tensor: Tensor = getattr(owner, name).detach()
    return tensor


def replace_value(module: GraphModule, node: Any, value: Tensor) -> None:
    """Let a node bring in another constant; the old one is not written to."""
    owner, name = _home(module, node)
    is_parameter = isinstance(getattr(owner, name), nn.Parameter)
    setattr(owner, name, nn.Parameter(value, requires_grad=False) if is_parameter else value)


def observer_of(prepared: GraphModule, node: Any) -> Any:
    """Return the observer that stands before an argument, None where it is not quantized."""
    if getattr(node, "op", "") != "call_module":
        return None
    found = prepared.get_submodule(node.target)
    return getattr(found, "activation_post_process", found)  # in training it rounds as well


def groups_of(node: Node) -> int:
    """Return into how many groups a layer's channels are divided."""
    found: Any = node.args[6] if base_name(node) != "linear" and len(node.args) > 6 else 1
    return int(found)


def readers_of(module: GraphModule) -> dict[str, int]:
    """Return how many nodes read each constant."""
    found: dict[str, int] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            found[str(node.target)] = found.get(str(node.target), 0) + len(node.users)
    return found


def _home(module: GraphModule, node: Any) -> tuple[Any, str]:
    path, _, name = str(node.target).rpartition(".")
    return module.get_submodule(path), name
