"""Passes: rewrites of an exported program that leave its outputs what they were.

A pass module holds ``run(exported) -> PassResult``; it may change the program that it is given, and
returns the one to go on with.  All passes run in the one order of `PIPELINE`, before any format's
converter sees the program.  What only one format cannot do is rewritten in that format's worker:
see `edgekit.passes.legalization`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.clock import timed
from edgekit.errors import ConversionError, EdgekitError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# In order, each with the reason for its place.
PIPELINE = (
    "fold_batch_norm",  # a quarter of a CNN's nodes; first, while a layer is still one node
    "functionalize",  # the others read the graph as equations
    "hard_activations",  # on equations, and before what rules take apart again
    "join_reshapes",  # leaves reshapes that do nothing
    "drop_no_ops",  # before folding, which need not compute them
    "last_step",  # before quantization, and without the full slices that authors write
    "drop_broadcasts",  # before folding, which would write a broadcast constant out
    "fold_constants",
    "drop_unused_weights",  # last: folding leaves weights that nothing reads
)
# Tidies what rules wrote.
AFTER_REWRITES = PIPELINE[PIPELINE.index("join_reshapes") :]


@dataclass(frozen=True)
class PassResult:
    """What a pass did.

    Attributes:
        exported: The program to go on with.
        rewrites: How many places it changed.
        declined: Why it left others alone, one sentence each.
    """

    exported: ExportedProgram
    rewrites: int
    declined: tuple[str, ...] = ()


def run(exported: ExportedProgram, names: Iterable[str] = PIPELINE) -> list[PassResult]:
    """Run passes one after another; return what each did.  The last holds the program.

    Raises:
        ConversionError: a pass broke; it is named, with those that ran before it.
        EdgekitError: a pass found what cannot be.
    """
    results: list[PassResult] = []
    done: list[str] = []
    for name in names:
        module = importlib.import_module(f"edgekit.passes.{name}")
        try:
            with timed(name):
                results.append(module.run(exported))
                exported = results[-1].exported
                exported.graph.lint()
        except EdgekitError:
            raise
        except Exception as error:
            raise broken(name, done, error) from error
        done.append(name)
    exported.graph_module.recompile()
    return results


def broken(name: str, before: Iterable[str], error: Exception) -> ConversionError:
    """Return the error that says that a pass is at fault."""
    return ConversionError(
        f"The pass {name} failed on this model (after {', '.join(before) or 'none'}): {error}",
        "This is a defect of edgekit: please report it with the model.",
    )
