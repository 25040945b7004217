"""Read the last state of a recurrent layer where the last of its steps is meant.

``steps[:, -1]`` and ``states[-1]`` are the same numbers.  Who reads the state needs no steps, and a
format that loops then keeps none.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import calls, name_of, replace_node

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

LAYERS = {f"aten.{kind}.input" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")}


def run(exported: ExportedProgram) -> PassResult:
    """Replace every choice of the last step; of two directions, only one ends there."""
    import torch

    found = 0
    for node in calls(exported):
        layer = _layer_of(node)
        if layer is None or not _is_last(node, axis=1 if layer.args[8] else 0):
            continue
        with exported.graph.inserting_before(node):
            states = exported.graph.call_function(operator.getitem, (layer, 1))
            last = exported.graph.call_function(torch.ops.aten.select.int, (states, 0, -1))
        states.meta["val"] = layer.meta["val"][1]
        last.meta = dict(node.meta)
        replace_node(exported, node, last)
        found += 1
    exported.graph.eliminate_dead_code()
    return PassResult(exported, found)


def _layer_of(node: Node) -> Node | None:
    """Return the recurrent layer of one direction whose steps a node selects from."""
    steps: Any = node.args[0] if name_of(node) == "aten.select.int" else None
    if getattr(steps, "target", None) is not operator.getitem or steps.args[1] != 0:
        return None
    layer: Node = steps.args[0]
    return layer if name_of(layer) in LAYERS and not layer.args[7] else None


def _is_last(node: Node, axis: int) -> bool:
    steps: Any
    steps, chosen, index = node.args
    shape = steps.meta["val"].shape
    last = {-1, shape[axis] - 1} if isinstance(shape[axis], int) else {-1}
    return chosen in {axis, axis - len(shape)} and index in last
