"""Which layer of the source model a node of an ONNX file is of: its weights' names tell.

A TFLite operator's layer is told by the runner, for the interpreter names its tensors.  ONNX
Runtime names nodes only, and what these are the file says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.benchmarks.record import BenchmarkRecord
from edgekit.wire.onnx import Node, read_nodes

_LAYOUT = "_nchwc"  # ONNX Runtime ends a node's name so that it made for another layout
_BORDER = "model."  # edgekit's wrapper around the user's own module


def with_layers(record: BenchmarkRecord, path: Path) -> BenchmarkRecord:
    """Return the record; nodes of an ONNX file bear ``layer``, or ``after``: the layer before."""
    if record.job.get("format") != "onnx" or not path.is_file():
        return record
    found = layers(read_nodes(path))
    return replace(
        record,
        placement=_told(record.placement, found),
        profile=_told(record.profile, found),
    )


def _told(part: Mapping[str, Any] | None, found: Mapping[str, dict[str, str]]) -> Any:
    if part is None or "nodes" not in part:
        return part
    nodes = [
        {**node, **found.get(str(node.get("name")).removesuffix(_LAYOUT), {})}
        for node in part["nodes"]
    ]
    return {**part, "nodes": nodes}


def layers(nodes: Iterable[Node]) -> dict[str, dict[str, str]]:
    """Return ``layer`` or ``after`` by the names of nodes, and of what they compute.

    A fused node bears the name of what it computes, which is its last part's.
    """
    listed = list(nodes)
    dotted = [name for node in listed for name in node.weights if "." in name]
    border = _BORDER if all(name.startswith(_BORDER) for name in dotted) else ""
    near: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for node in listed:
        own = [name.removeprefix(border).rpartition(".")[0] for name in node.weights if "." in name]
        before = next((near[name] for name in node.inputs if name in near), "")
        layer = next(filter(None, own), "")
        told = {"layer": layer} if layer else {"after": before} if before else {}
        near |= {name: layer or before for name in node.outputs if layer or before}
        found |= {name: told for name in (node.name, *node.outputs) if name and told}
    return found
