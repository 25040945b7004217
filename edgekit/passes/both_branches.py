"""Compute both branches of a ``torch.cond`` and choose: branches of an exported graph are pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import expand

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import Node


def run(exported: ExportedProgram) -> PassResult:
    """Write the branches of every condition into the graph, those within branches too."""
    import torch

    found = 0
    while nodes := exported.graph.find_nodes(
        op="call_function", target=torch.ops.higher_order.cond
    ):
        for node in nodes:
            _write_both(exported, node)
            found += 1
    if found:
        exported.graph.eliminate_dead_code()
        exported.graph_module.recompile()
    return PassResult(exported, found)


def _write_both(exported: ExportedProgram, node: Node) -> None:
    import torch

    args: Any = node.args
    condition, *branches, operands = args
    yes, no = (getattr(exported.graph_module, branch.target) for branch in branches)

    def both(condition: Tensor, *operands: Any) -> tuple[Tensor, ...]:
        pairs = zip(yes(*operands), no(*operands), strict=True)
        return tuple(torch.where(condition, first, second) for first, second in pairs)

    node.args = (condition, *operands)
    expand(exported, node, both)
    for branch in branches:
        if not branch.users:
            exported.graph.erase_node(branch)
