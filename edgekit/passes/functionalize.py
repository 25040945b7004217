"""Turn operators that write into their arguments into ones that return new tensors.

Converters and passes read a graph as a set of equations; ``relu_`` or ``mask[:, 0] = 1`` is none.
PyTorch's own functionalization does this, and writes views (``flatten``, ``to``) in few operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.fused import layers_kept
from edgekit.passes import PassResult
from edgekit.passes.graph import calls, mutates, name_of
from edgekit.quiet import quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def run(exported: ExportedProgram) -> PassResult:
    """Functionalize the program."""
    if exported.dialect == "ATEN" and not any(map(mutates, calls(exported))):
        return PassResult(exported, 0, ("it is functional already",))
    before = [name_of(node) for node in calls(exported)]
    exported = in_dialect(exported)
    after = [name_of(node) for node in calls(exported)]
    return PassResult(exported, sum(a != b for a, b in zip(before, after, strict=False)))


def in_dialect(exported: ExportedProgram) -> ExportedProgram:
    """Return the program in the dialect ATEN, its operators as they are."""
    with quiet(), layers_kept():
        functional: ExportedProgram = exported.run_decompositions({})
    return functional
