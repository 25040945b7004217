"""Layer by layer: where along a model's depth an artifact leaves its source.

::

    source graph ─ every value ─┐
                                ├─ edgekit.matching ─▶ one check per layer ─▶ the first that loses
    artifact ─ every value ─────┘

All values of both graphs for one sample are held in memory at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import runtimes
from edgekit.errors import UnavailableError
from edgekit.matching import SAME_DB, Match, match, sqnr_db
from edgekit.program import Program
from edgekit.runtimes import Arrays, Session
from edgekit.tensors import Signature
from edgekit.verification import as_in_source, feeds_for, plain, unplain, worst_sample

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_ROOT = "model"  # the name that `edgekit.border` gives to the user's module


@dataclass(frozen=True)
class Node:
    """A value of the source graph.

    Attributes:
        layer: Path of the module that computes it, the user's own module being ``model``.
        inputs: Names of the values that it is computed from.
    """

    layer: str
    inputs: tuple[str, ...]


Graph = Mapping[str, Node]  # in the order of computation


@dataclass(frozen=True)
class LayerCheck:
    """One layer: its last value that the artifact has as well.

    Attributes:
        layer: Path of the layer in the user's module; of an operation outside of any, its name.
        source: Name of the value in the source graph.
        artifact: Name of the value in the artifact.
        shape: Its shape in the source.
        sqnr_db: How near the artifact's value is.
    """

    layer: str
    source: str
    artifact: str
    shape: tuple[int, ...]
    sqnr_db: float


@dataclass(frozen=True)
class LayerReport:
    """A model's layers along its depth, and the first that loses what the tolerance asks for.

    Attributes:
        runtime: The runtime that executed the artifact, with its version.
        sample: Index of the sample that was run: the one with the worst outputs.
        tolerance_db: SQNR below which an output is wrong.
        checks: One per layer that was found in the artifact, in the order of computation.
        unmatched: How many layers were not found: fused with others, or written in another way.
        lost: The layer whose result is the first to be wrong, on the way to an output that is; with
            it those before it whose results the artifact does not show.  Empty when no output is.
    """

    runtime: str
    sample: int
    tolerance_db: float
    checks: tuple[LayerCheck, ...]
    unmatched: int
    lost: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        checks = [{key: plain(value) for key, value in vars(c).items()} for c in self.checks]
        return {**vars(self), "lost": list(self.lost), "checks": checks}

    @staticmethod
    def from_json(data: dict[str, Any]) -> LayerReport:
        """Rebuild a report from `to_json`."""
        checks = tuple(
            LayerCheck(**{key: unplain(value) for key, value in check.items()})
            for check in data["checks"]
        )
        return LayerReport(**{**data, "checks": checks, "lost": tuple(data["lost"])})


def compare(
    program: Program,
    path: Path,
    format_name: str,
    signature: Signature,
    tolerance_db: float,
    runtime: str | None = None,
) -> LayerReport:
    """Run an artifact and the program that it was made from, and compare their layers.

    Raises:
        UnavailableError: the runtime cannot show what lies between inputs and outputs.
        EdgekitError: the artifact does not open or run.
    """
    from edgekit.runtimes.torch_eager import ProgramEngine

    source = Session(ProgramEngine(program.exported, 1), "torch_eager")
    graph = graph_of(program.exported)
    with runtimes.open_session(path, format_name, runtime=runtime) as session:
        feeds = [feeds_for(signature, sample) for sample in program.samples]
        results = [as_in_source(signature, session.run(each)) for each in feeds]
        worst = worst_sample(results, program.references)
        values = _watched(session, feeds[worst])
        described = runtimes.describe(session.runtime)
    outputs = _outputs(program)
    references = _references(source, program.samples[worst], outputs)
    matches = _match(graph, references, values, outputs)
    matches = _pruned(graph, matches, outputs, tolerance_db)
    names = labels(graph)
    checks = tuple(
        LayerCheck(names[name], name, found.value, references[name].shape, found.sqnr_db)
        for name, found in _last_of_each_layer(graph, matches)
    )
    visible = [name for name in graph if name in references]
    lost = _first_lost(graph, matches, list(outputs), tolerance_db)
    return LayerReport(
        described,
        worst,
        tolerance_db,
        checks,
        len({graph[name].layer for name in visible} - {graph[name].layer for name in matches}),
        tuple(dict.fromkeys(names[name] for name in lost if name in references)),
    )


# -- The source graph ------------------------------------------------------------------------------


def graph_of(exported: ExportedProgram) -> Graph:
    """Return the values that an exported program computes, with their layers."""
    return {
        node.name: Node(_path(node), tuple(each.name for each in node.all_input_nodes))
        for node in exported.graph.nodes
        if node.op == "call_function"
    }


def layers_of(exported: ExportedProgram) -> dict[str, str]:
    """Return what to call the layer of each value, by the value's name."""
    return labels(graph_of(exported))


def labels(graph: Graph) -> dict[str, str]:
    """Return what a reader calls each value: its layer; between layers by its own name, too."""
    paths = {node.layer for node in graph.values()}
    containers = {path[: dot.start()] for path in paths for dot in re.finditer(r"\.", path)}

    def label(name: str, path: str) -> str:
        shown = in_module(path)
        if not shown:
            return name
        return f"{shown} ({name})" if path in containers else shown

    return {name: label(name, node.layer) for name, node in graph.items()}


def layer_of(node: Any) -> str:
    """Return the path of the layer that a node of a graph belongs to, as ``features.0``."""
    return in_module(_path(node))


def in_module(path: str) -> str:
    """Return a path as the user's own module has it."""
    return path.removeprefix(_ROOT).removeprefix(".")


def _path(node: Any) -> str:
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    return str(modules[-1][0]) if modules else ""


def _outputs(program: Program) -> dict[str, str]:
    """Return the name of each output by the value that it is."""
    nodes = program.exported.graph_signature.user_outputs
    names = [spec.name for spec in program.signature.outputs]
    return {str(node): name for node, name in zip(nodes, names, strict=True)}


# -- Matching --------------------------------------------------------------------------------------


def _watched(session: Session, feeds: Arrays) -> Arrays:
    names = session.intermediates()
    if names is None:
        raise UnavailableError(
            f"The runtime {session.runtime} does not show what lies between inputs and outputs.",
            "Choose another with --runtime; `edgekit doctor` lists them.",
        )
    return session.run(feeds, watch=names)


def _references(source: Session, sample: Arrays, outputs: Mapping[str, str]) -> Arrays:
    """Return the source graph's values by their names in it, outputs included."""
    inputs = [spec.name for spec in source.signature.inputs]
    found = _watched(source, dict(zip(inputs, sample.values(), strict=True)))
    results = {node: found.pop(name) for node, name in outputs.items()}  # may shadow a value
    return found | results


def _match(
    graph: Graph, references: Arrays, values: Arrays, outputs: Mapping[str, str]
) -> dict[str, Match]:
    """Match values, outputs by their names; in the order of the graph."""
    known = {name: references[name] for name in graph if name in references}
    found = match(known, values, {name: node.layer for name, node in graph.items()})
    for node, name in outputs.items():
        if node in known and known[node].dtype.kind == "f":
            found[node] = Match(name, sqnr_db(known[node], values[name]))
    return {name: found[name] for name in known if name in found}


def _pruned(
    graph: Graph, matches: Mapping[str, Match], outputs: Container[str], tolerance_db: float
) -> dict[str, Match]:
    """Drop what was found by name only, and wrongly: all that is computed from it is right."""
    users: dict[str, list[str]] = {}
    for name, node in graph.items():
        for given in node.inputs:
            users.setdefault(given, []).append(name)
    cleared: set[str] = set()
    for name in reversed(list(graph)):
        right = name in matches and matches[name].sqnr_db >= tolerance_db
        if right or (name not in outputs and cleared.issuperset(users.get(name, ()))):
            cleared.add(name)
    return {
        name: found
        for name, found in matches.items()
        if found.sqnr_db >= SAME_DB or name not in cleared
    }


# -- Judging ---------------------------------------------------------------------------------------


def _last_of_each_layer(graph: Graph, matches: Mapping[str, Match]) -> Iterator[tuple[str, Match]]:
    """Yield the last value of each run of values that one layer computes."""
    for _, run in groupby(matches, key=lambda name: graph[name].layer):
        *_, name = run
        yield name, matches[name]


def _first_lost(
    graph: Graph, matches: Mapping[str, Match], outputs: Sequence[str], tolerance_db: float
) -> list[str]:
    """Return the first wrong value on the way to a wrong output, behind what leads to it unseen."""

    def right(name: str) -> bool:
        return name in matches and matches[name].sqnr_db >= tolerance_db

    wrong = [name for name in outputs if name in matches and not right(name)]
    region = _upstream(graph, wrong, right)
    first = next((name for name in graph if name in region and name in matches), None)
    if first is None:
        return []
    unseen = _upstream(graph, [first], right)
    return [name for name in graph if name in unseen]


def _upstream(graph: Graph, names: Sequence[str], stop: Callable[[str], bool]) -> set[str]:
    """Return `names` and all that they are computed from, up to where `stop` says so."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in graph or stop(name):
            continue
        seen.add(name)
        waiting += graph[name].inputs
    return seen
