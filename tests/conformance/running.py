"""Take one case of a suite through one format, edgekit's way or the vendor's own; say how it ended.

A case ends as one of `ENDS`::

    passed    converted, executed, and equal to PyTorch within the tolerance of recipe fp32
    wrong     converted and executed, and not equal
    broken    converted, but the runtime does not execute it
    refused   the converter says no
    crashed   the process died, or was stopped at the time limit
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

import edgekit
from edgekit import clock, lowering, registry
from edgekit.blame import root_cause
from edgekit.errors import EdgekitError
from edgekit.formats import options_for
from edgekit.program import Program
from edgekit.recipe import load_recipe
from edgekit.source import Source
from edgekit.verification import Verification
from tests.conformance import operators, vendors, zoo

ENDS = ("passed", "wrong", "broken", "refused", "crashed")
_ROOT, _PACKAGES = Path(__file__).parents[2], Path(torch.__file__).parents[1]


class Case(Protocol):
    """A model of a suite."""

    @property
    def name(self) -> str:
        """What it is called in its suite."""

    def build(self) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
        """Return the model, in evaluation mode, and its inputs; the same on every call."""


def suite(name: str) -> Mapping[str, Case]:
    """Return the cases of the suite ``operators`` or ``zoo``, by name."""
    return operators.suite() if name == "operators" else zoo.suite()


def run_batch(
    suite_name: str, names: list[str], format_name: str, raw: bool, results: str, seconds: float
) -> None:
    """Run cases one after another and append what became of each to the file `results`.

    A case that takes longer than `seconds` ends this process, as one that crashes does.
    """
    _remember()
    for name in names:
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.stderr)
        record = run(suite(suite_name)[name], format_name, raw=raw)
        faulthandler.cancel_dump_traceback_later()
        with Path(results).open("a") as file:
            file.write(json.dumps(record) + "\n")


def run(case: Case, format_name: str, *, raw: bool = False) -> dict[str, Any]:
    """Convert, execute and compare one case; return the record of it."""
    started = time.monotonic()
    record = {"case": case.name, "format": format_name, "end": "refused", "operators": []}
    clock.taken()
    try:
        module, inputs = case.build()
        program = edgekit.export(module, inputs)
        record["operators"] = operators_in(program)
        if not raw:  # as workers do during the export
            registry.load("formats", format_name).warm_up()
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
            verdict = (
                vendors.convert(module, inputs, program, format_name, Path(folder))
                if raw
                else convert(program, format_name, Path(folder))
            )
            record["size"] = operators_written(Path(folder), format_name)
        record |= {"end": end_of(verdict), "reason": verdict.reason, "code": ""}
        record["sqnr_db"] = None if verdict.sqnr_db is None else str(verdict.sqnr_db)
    except EdgekitError as error:
        record |= {"reason": error.message, "code": error.reason}
    except Exception as error:  # noqa: BLE001 - whatever a converter raises is its answer
        record |= {"reason": f"{type(error).__name__}: {said(error)}", "code": "foreign"}
    record["reason"] = _without_places(str(record.get("reason") or ""))
    return {**record, "parts": clock.taken(), "seconds": round(time.monotonic() - started, 2)}


def convert(program: Program, format_name: str, folder: Path) -> Verification:
    """Take a program through what edgekit's workers run."""
    lowering.save(Source(program, None), folder / "program")
    built = lowering.build(
        str(folder / "program"),
        format_name,
        load_recipe("fp32").to_json(),
        options_for(format_name, {}),
        str(folder / f"model{vendors.SUFFIXES[format_name]}"),
    )
    return Verification.from_json(built["verification"])


def said(error: Exception, limit: int = 300) -> str:
    """Return the beginning of a foreign error's message on one line."""
    return " ".join(str(root_cause(error)).split())[:limit]


def end_of(verdict: Verification) -> str:
    """Return how a case ended that has an artifact."""
    if verdict.status == "passed":
        return "passed"
    return "wrong" if verdict.outputs else "broken"


def operators_written(folder: Path, format_name: str) -> int | None:
    """Return how many operators the file in a folder has, constants left out."""
    path = folder / f"model{vendors.SUFFIXES[format_name]}"
    with contextlib.suppress(EdgekitError):
        counts = registry.load("formats", format_name).summarize(path).ops
        return int(sum(n for kind, n in counts.items() if kind not in ("const", "Constant")))
    return None


def _without_places(reason: str) -> str:
    """Return a reason as it is on every machine: files are named from where they belong to."""
    for place in (_ROOT, _PACKAGES):
        reason = reason.replace(f"{place}/", "")
    return reason


def operators_in(program: Program) -> list[str]:
    """Return the names of the ATen operators in a program, those in its branches included."""
    graphs = [
        each.graph
        for each in program.exported.graph_module.modules()
        if isinstance(each, torch.fx.GraphModule)
    ]
    targets = {node.target for graph in graphs for node in graph.nodes if node.op != "placeholder"}
    packets = {t.overloadpacket for t in targets if isinstance(t, torch._ops.OpOverload)}
    return sorted(str(each).removeprefix("aten.") for each in packets)


def _remember() -> None:
    """Let torch make its lists of operators once per process, not several times for each case."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    utils = torch._export.utils
    utils._materialize_cpp_cia_ops = functools.cache(utils._materialize_cpp_cia_ops)
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
