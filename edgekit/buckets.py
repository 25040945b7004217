"""A program at each of the sizes that its dimensions take, for formats with fixed shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.inputs import fitted
from edgekit.program import Program
from edgekit.quiet import quiet
from edgekit.tensors import Dim, Signature

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def sizes(signature: Signature) -> list[dict[str, int]]:
    """Return each choice of sizes by dimension, the largest first; nothing where none is listed."""
    dims = {dim for spec in signature.inputs for dim in spec.shape if isinstance(dim, Dim)}
    listed = [dim for dim in dims if dim.sizes]
    return [
        {dim.name: dim.sizes[turn] for dim in listed}
        for turn in reversed(range(max((len(dim.sizes) for dim in listed), default=0)))
    ]


def fixed(program: Program, chosen: dict[str, int]) -> ExportedProgram:
    """Trace a program again with its listed dimensions at the sizes chosen."""
    import torch

    _positional, tensors = program.exported.example_inputs
    feeds: dict[str, Any] = {}
    for spec in program.signature.inputs:
        shape = [
            chosen.get(d.name, n) if isinstance(d, Dim) else d
            for d, n in zip(spec.shape, tensors[spec.name].shape, strict=True)
        ]
        feeds[spec.name] = fitted(tensors[spec.name], tuple(shape))
    with quiet(), torch.no_grad():
        return torch.export.export(program.exported.module(), (), feeds, strict=False)
