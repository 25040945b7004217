"""Let ``x[i]``, with `i` a tensor of one integer, be a gather.

torch.export takes the integer out of the tensor and selects by it; converters want a constant
there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import calls, expand, name_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


def run(exported: ExportedProgram) -> PassResult:
    """Gather wherever the index of a selection was taken out of a tensor."""
    found = 0
    for node in calls(exported):
        args: Any = node.args
        if name_of(node) != "aten.select.int" or not hasattr(args[2], "target"):
            continue
        if str(args[2].target) not in ("aten.item.default", "aten._local_scalar_dense.default"):
            continue
        node.args = (*args[:2], args[2].args[0])
        expand(exported, node, _selected)
        found += 1
    if found:
        exported.graph.eliminate_dead_code()
    return PassResult(exported, found)


def _selected(x: Tensor, dim: int, index: Tensor) -> Tensor:
    import torch

    place = index.reshape(1)
    place = torch.where(place < 0, place + x.shape[dim], place)
    return x.index_select(dim, place).squeeze(dim)
