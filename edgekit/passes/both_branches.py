"""Compute both branches of a ``torch.cond`` and choose: branches of an exported graph are pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import expand

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node


def run(exported: ExportedProgram) -> PassResult:
    """Write the branches of every condition into the graph, those within branches too."""
    import torch

    nodes = exported.graph.find_nodes(op="call_function", target=torch.ops.higher_order.cond)
    for node in nodes:
        _write_both(exported, node)
    if nodes:
        exported.graph.eliminate_dead_code()
        exported.graph_module.recompile()
    return PassResult(exported, len(nodes))


def _write_both(exported: ExportedProgram, node: Node) -> None:
    args: Any = node.args
    condition, *branches, operands = args
    yes, no = (getattr(exported.graph_module, branch.target) for branch in branches)
    node.args = (condition, *operands)
    expand(exported, node, lambda condition, *operands: _chosen(condition, yes, no, operands))
    for branch in branches:
        if not branch.users:
            exported.graph.erase_node(branch)


def _chosen(condition: Any, yes: GraphModule, no: GraphModule, operands: Any) -> tuple[Any, ...]:
    """Return the results of one branch where the condition holds, and of the other elsewhere."""
    import torch
    from torch.fx import Interpreter

    class Flat(Interpreter):
        """Computes a branch; of a condition in it, both branches."""

        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            if target is torch.ops.higher_order.cond:
                return _chosen(*args)
            return super().call_function(target, args, kwargs)

    pairs = zip(Flat(yes).run(*operands), Flat(no).run(*operands), strict=True)
    return tuple(torch.where(condition, first, second) for first, second in pairs)
