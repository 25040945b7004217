"""The exported model: graph, weights, signature, and the outputs that are expected of it.

`Program.save` writes a folder that any number of worker processes open at once; the weights in it
are memory-mapped, so they exist once in memory however many workers read them.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit import tensorstore
from edgekit.quantize import Quantization
from edgekit.quiet import quiet
from edgekit.runtimes import Arrays
from edgekit.source import Metadata
from edgekit.tensors import Signature

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class Program:
    """An exported model.

    Attributes:
        exported: The graph; its inputs are keyword arguments and its output is a flat dict.
        signature: Names, types and shapes of inputs and outputs, as the source has them.
        samples: Input sets that verification runs: the examples first, then seeded variations.
        references: The outputs expected on each sample, in eager PyTorch: the source model's own
            or, of a quantized program, the quantized graph's.
        metadata: What artifacts say of themselves.
        origin: The source string, for the record.
        sha256: Identity of graph, weights and signature.
        quantization: How the graph was quantized, and what that cost; None for a float graph.
    """

    exported: ExportedProgram
    signature: Signature
    samples: tuple[Arrays, ...]
    references: tuple[Arrays, ...]
    metadata: Metadata
    origin: str
    sha256: str = ""
    quantization: Quantization | None = None

    @property
    def parameters(self) -> int:
        """Number of weights, shared ones counted once."""
        return sum(tensor.numel() for tensor in tensorstore.unique(self.exported.state_dict))

    def save(self, folder: Path) -> Program:
        """Write the program to `folder` and return it with its sha256."""
        folder.mkdir(parents=True, exist_ok=True)
        state = self.exported.state_dict
        weights = tensorstore.write(folder / "weights.safetensors", state)
        _write_graph(self.exported, folder / "graph.pt2")
        parts = (weights, _digest(self.exported), json.dumps(self.signature.to_json()))
        saved = replace(self, sha256=hashlib.sha256("\n".join(parts).encode()).hexdigest())
        save_samples(folder / "samples.npz", self.samples, self.references)
        (folder / "program.json").write_text(json.dumps(saved.describe(), indent=1))
        return saved

    def copied(self) -> Program:
        """Return a program to rewrite while this one stays as it is; they share their weights."""
        graph = io.BytesIO()
        _write_graph(self.exported, graph)
        graph.seek(0)
        return replace(self, exported=_read_graph(graph, self.exported.state_dict))

    def describe(self) -> dict[str, Any]:
        """Return all but the tensors, as plain data."""
        return {
            "sha256": self.sha256,
            "origin": self.origin,
            "parameters": self.parameters,
            "samples_sha256": _samples_digest(self.samples, self.references),
            "signature": self.signature.to_json(),
            "metadata": vars(self.metadata),
            "quantization": self.quantization.to_json() if self.quantization else None,
        }


def load(folder: Path) -> Program:
    """Open a program that `Program.save` wrote; weights are mapped, not read."""
    data = describe(folder)
    quantized = data["quantization"]
    if quantized:
        for operators in ("torch.ao.quantization.fx._decomposed", "edgekit.quantize.operators"):
            importlib.import_module(operators)  # which registers them
    exported = _read_graph(folder / "graph.pt2", tensorstore.read(folder / "weights.safetensors"))
    samples, references = load_samples(folder / "samples.npz")
    metadata = Metadata(**{**data["metadata"], "labels": tuple(data["metadata"]["labels"])})
    signature = Signature.from_json(data["signature"])
    return Program(
        exported,
        signature,
        samples,
        references,
        metadata,
        data["origin"],
        data["sha256"],
        Quantization.from_json(quantized) if quantized else None,
    )


def describe(folder: Path) -> dict[str, Any]:
    """Return what `Program.describe` said of the program saved in `folder`."""
    data: dict[str, Any] = json.loads((folder / "program.json").read_text())
    return data


# -- Parts -----------------------------------------------------------------------------------------


def save_samples(path: Path, samples: tuple[Arrays, ...], references: tuple[Arrays, ...]) -> None:
    """Write input sets and the outputs expected of each as one ``.npz``."""
    arrays = {
        f"{kind}/{index}/{name}": array
        for kind, sets in (("input", samples), ("output", references))
        for index, each in enumerate(sets)
        for name, array in each.items()
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]


def load_samples(path: Path) -> tuple[tuple[Arrays, ...], tuple[Arrays, ...]]:
    """Read what `save_samples` wrote: the input sets and the expected outputs."""
    kinds: dict[str, dict[int, Arrays]] = {"input": {}, "output": {}}
    with np.load(path) as stored:
        for key in stored.files:
            kind, index, name = key.split("/", 2)
            kinds[kind].setdefault(int(index), {})[name] = stored[key]
    inputs, outputs = (
        tuple(arrays for _, arrays in sorted(sets.items())) for sets in kinds.values()
    )
    return inputs, outputs


def _samples_digest(*sides: tuple[Arrays, ...]) -> str:
    digest = hashlib.sha256()
    for index, (name, array) in enumerate(
        item for sets in sides for each in sets for item in each.items()
    ):
        digest.update(f"{index} {name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write_graph(exported: ExportedProgram, file: Path | io.BytesIO) -> None:
    """Write a program without its weights."""
    import torch

    stubs = {name: _stub(tensor) for name, tensor in exported.state_dict.items()}
    with quiet(), _state_of(exported, stubs):
        torch.export.save(exported, file)


def _read_graph(file: Path | io.BytesIO, state: Mapping[str, torch.Tensor]) -> ExportedProgram:
    """Read what `_write_graph` wrote, and give it its weights."""
    import torch

    with quiet():
        exported = torch.export.load(file)
    exported._state_dict = {  # noqa: SLF001 - torch offers no public way to swap weights in
        name: torch.nn.Parameter(state[name], requires_grad=False)
        if isinstance(stub, torch.nn.Parameter)
        else state[name]
        for name, stub in exported.state_dict.items()
    }
    # the file has a node for every result of an operator, and converters lower what nothing reads
    exported.graph.eliminate_dead_code()
    exported.graph_module.recompile()
    return exported


def _stub(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the same type and shape that stores a single element."""
    import torch

    shaped = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(shaped, requires_grad=False)
    return shaped


@contextmanager
def _state_of(exported: ExportedProgram, state: dict[str, torch.Tensor]) -> Iterator[None]:
    """Swap the weights of a program for the time of a block."""
    before = exported.state_dict
    exported._state_dict = state  # noqa: SLF001 - torch offers no public way
    try:
        yield
    finally:
        exported._state_dict = before  # noqa: SLF001


def _digest(exported: ExportedProgram) -> str:
    """Return the sha256 of the graph, its ranges and its lifted constants (not its weights)."""
    import torch

    digest = hashlib.sha256()
    for path, module in exported.graph_module.named_modules():  # branches of torch.cond, too
        if isinstance(module, torch.fx.GraphModule):
            digest.update(f"{path}\n{module.graph}\n".encode())
    digest.update(str(sorted(map(str, exported.range_constraints.items()))).encode())
    for name, value in sorted(exported.constants.items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(tensorstore.content(value))
        else:
            digest.update(f"{name} {value!r}".encode())
    return digest.hexdigest()
