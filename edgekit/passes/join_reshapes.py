"""Let a reshape of a reshape read what the first one read.

Authors write ``unflatten`` and ``flatten`` around a step, and so do rules; only the last shape
counts.  What lies between may have more axes than a format knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import calls, name_of

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

_RESHAPES = {
    *("aten.reshape.default", "aten.view.default", "aten._unsafe_view.default"),
    *("aten.unsqueeze.default", "aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims"),
    *("aten.flatten.using_ints", "aten.unflatten.int"),
}


def run(exported: ExportedProgram) -> PassResult:
    """Join reshapes; a shape that varies stays as it is written."""
    import torch

    joined = 0
    for node in calls(exported):
        if name_of(node) not in _RESHAPES:
            continue
        source: Any = node.args[0]
        if not _is_reshape(source):
            continue
        shape = list(node.meta["val"].shape)
        if not all(isinstance(size, int) for size in shape):
            continue
        while _is_reshape(source):
            source = source.args[0]
        node.target, node.args = torch.ops.aten.reshape.default, (source, shape)
        joined += 1
    exported.graph.eliminate_dead_code()
    return PassResult(exported, joined)


def _is_reshape(node: Node) -> bool:
    return node.op == "call_function" and name_of(node) in _RESHAPES
