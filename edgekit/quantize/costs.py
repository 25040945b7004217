"""What a quantized graph gives, and how far that is from the float model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgekit import metrics
from edgekit.exporting import to_numpy

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

    from edgekit.program import Program
    from edgekit.runtimes import Arrays


def outputs_of(exported: ExportedProgram, program: Program) -> tuple[Arrays, ...]:
    """Run a rewritten graph on the samples of the program that it was."""
    import torch

    module = exported.module(check_guards=False)
    with torch.no_grad():
        results = [module(**tensors(sample, program)) for sample in program.samples]
    return tuple({name: to_numpy(each) for name, each in result.items()} for result in results)


def tensors(sample: Arrays, program: Program) -> dict[str, torch.Tensor]:
    """Return an input set in the model's own element types."""
    import torch

    return {
        spec.name: torch.from_numpy(sample[spec.name]).to(getattr(torch, spec.dtype.value))
        for spec in program.signature.inputs
    }


def lowest_sqnr(references: Iterable[Arrays], outputs: Iterable[Arrays]) -> float:
    """Return the lowest SQNR of any floating-point output, in dB."""
    return min(
        (
            metrics.compare(want[name], got[name]).sqnr_db
            for want, got in zip(references, outputs, strict=True)
            for name in want
            if want[name].dtype.kind == "f"
        ),
        default=math.inf,
    )
