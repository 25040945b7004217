"""Programs of ``torch.export`` in PyTorch itself: the reference for every artifact's values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import UnavailableError, UsageError
from edgekit.runtimes import Arrays, Engine
from edgekit.runtimes._vendor import failure, missing, quiet, torch_threads, version_of
from edgekit.tensors import Dim, DType, Signature, TensorSpec
from edgekit.wire import map_file

if TYPE_CHECKING:
    from torch.export import ExportedProgram

FORMATS = ("pt2",)
RANK = 10
REFERENCE = True
NOTE = "PyTorch in eager mode is the reference for values, not for speed."


def unavailable() -> UnavailableError | None:
    """Return why PyTorch cannot run here; None when it can."""
    return missing("torch", "torch")


def version() -> str:
    """Return the engine's name and version."""
    return version_of("PyTorch", "torch")


def load(path: Path, *, threads: int) -> Engine:
    """Open a file that ``torch.export.save`` wrote."""
    import torch

    map_file(path)  # for its account of a missing file
    try:
        with quiet():
            program = torch.export.load(path)
    except Exception as error:
        raise failure("PyTorch cannot open", path, error) from error
    return ProgramEngine(program, threads)


class ProgramEngine:
    """An exported program, run node by node.

    Inputs are named as in the program's graph.  So are outputs, unless the program returns one flat
    dict, whose keys then are the names.  Arguments and results that are no tensors have no part in
    the signature: an argument keeps the value that it was exported with.
    """

    def __init__(self, program: ExportedProgram, threads: int) -> None:
        self._program = program
        self._threads = threads
        self._module = program.module()
        lists = program.graph_signature
        self._arguments = [item.arg for item in lists.input_specs if item.kind.name == "USER_INPUT"]
        results = [item.arg for item in lists.output_specs if item.kind.name == "USER_OUTPUT"]
        names = _keys_of_flat_dict(program) or [arg.name for arg in results]
        inputs = {arg.name: arg.name for arg in self._arguments if _is_tensor(arg)}
        outputs = {
            name: arg.name for name, arg in zip(names, results, strict=True) if _is_tensor(arg)
        }
        self._result_names = names
        self._signature = Signature(_specs(program, inputs), _specs(program, outputs))

    @property
    def signature(self) -> Signature:
        """Inputs and outputs in the order of the program's own arguments and results."""
        return self._signature

    def infer(self, feeds: Arrays, watch: Sequence[str]) -> Arrays:
        """Run once; a watched name is that of a node in the program's graph."""
        import torch
        from torch.utils import _pytree as pytree

        from edgekit.exporting import to_numpy

        watched: Arrays = {}

        class Recorder(torch.fx.Interpreter):
            def run_node(self, n: torch.fx.Node) -> Any:
                value = super().run_node(n)
                if n.name in watch:  # now: a later node may write into it
                    watched[n.name] = to_numpy(value)
                return value

        arguments = [
            torch.tensor(feeds[arg.name]) if _is_tensor(arg) else arg.value
            for arg in self._arguments
        ]
        with torch.no_grad(), torch_threads(self._threads):
            result = Recorder(self._module).run(*arguments)
        results = dict(zip(self._result_names, pytree.tree_leaves(result), strict=True))
        found = {spec.name: to_numpy(results[spec.name]) for spec in self._signature.outputs}
        unknown = sorted(set(watch) - watched.keys() - found.keys())
        if unknown:
            raise UsageError(f"The program has no values named {', '.join(unknown)} to watch.")
        return watched | found

    def intermediates(self) -> tuple[str, ...]:
        """List the graph's calls whose value is one tensor."""
        from torch import Tensor

        return tuple(
            node.name
            for node in self._module.graph.nodes
            if node.op == "call_function" and isinstance(node.meta.get("val"), Tensor)
        )

    def close(self) -> None:
        """Free the program."""
        del self._program, self._module


def _is_tensor(argument: Any) -> bool:
    return type(argument).__name__ == "TensorArgument"


def _keys_of_flat_dict(program: ExportedProgram) -> list[str] | None:
    """Return the keys of the program's result; None unless it is one dict of plain values."""
    result = program.call_spec.out_spec
    if result is None or result.type is not dict or result.num_leaves != len(result.context):
        return None
    return [str(key) for key in result.context]


def _specs(program: ExportedProgram, nodes: dict[str, str]) -> tuple[TensorSpec, ...]:
    """Return the specs of graph nodes, by the names that the signature gives them."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    return tuple(
        TensorSpec(
            name,
            DType(str(values[node].dtype).removeprefix("torch.")),
            tuple(_dim(program, size) for size in values[node].shape),
        )
        for name, node in nodes.items()
    )


def _dim(program: ExportedProgram, size: Any) -> int | Dim:
    """Return a size, as a dimension with its bounds where it is symbolic."""
    if isinstance(size, int):
        return size
    bounds = program.range_constraints.get(size.node.expr)
    if bounds is None:
        return Dim(str(size), 0)
    highest = int(bounds.upper) if bounds.upper.is_Integer else None  # or one of two infinities
    return Dim(str(size), int(bounds.lower), highest)
