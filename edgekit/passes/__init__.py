"""Passes: rewrites of an exported program that leave its outputs what they were.

A pass module holds ``run(exported) -> PassResult``; it changes the program that it is given.  All
passes run in the one order of `PIPELINE`, before any format's converter sees the program.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.errors import ConversionError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# In order, each with the reason for its place.
PIPELINE = (
    "fold_batch_norm",  # first: a quarter of a CNN's nodes, and of every converter's time
    "drop_unused_weights",  # last: folding leaves weights that nothing reads
)


@dataclass(frozen=True)
class PassResult:
    """What a pass did.

    Attributes:
        rewrites: How many places it changed.
        declined: Why it left others alone, one sentence each.
    """

    rewrites: int
    declined: tuple[str, ...] = ()


def run(exported: ExportedProgram) -> dict[str, PassResult]:
    """Run all passes on a program, in place; return what each did, by name.

    Raises:
        ConversionError: a pass broke; it is named, with those that ran before it.
    """
    results: dict[str, PassResult] = {}
    for name in PIPELINE:
        module = importlib.import_module(f"edgekit.passes.{name}")
        try:
            results[name] = module.run(exported)
            exported.graph.lint()
        except Exception as error:
            before = ", ".join(results) or "none"
            raise ConversionError(
                f"The pass {name} failed on this model (after {before}): {error}",
                "This is a defect of edgekit: please report it with the model.",
            ) from error
    exported.graph_module.recompile()
    return results
