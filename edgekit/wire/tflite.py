"""Reading a TFLite model file.

Source of the slot and enumeration numbers: tensorflow/compiler/mlir/lite/schema/schema.fbs and, for
the author's metadata, tflite-support's metadata_schema.fbs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from edgekit.errors import ArtifactError
from edgekit.tensors import Dim, DType, Signature, TensorSpec
from edgekit.wire import ModelSummary, by_size, map_file, reading, shape_of
from edgekit.wire._tflite_ops import BUILTIN_OPS
from edgekit.wire.flatbuffer import FlatBuffer, Table

_TYPE_NAMES = (
    "float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 "
    "resource variant uint32 uint16 int4 bfloat16 int2 uint4 float8e4m3fn float8e5m2"
)
_TYPES = _TYPE_NAMES.split()
_WIDTHS = {
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
}
_BORDER_TYPES = {dtype.value for dtype in DType}
_CUSTOM = 32
_AUTHORED = {0: "name", 1: "description", 2: "version", 4: "author", 5: "license"}
_LONGEST_TEXT = 4096
_T = TypeVar("_T")


@dataclass(frozen=True)
class EntryPoint:
    """A subgraph that can be called, by the names of a signature or of its own tensors.

    Attributes:
        signature: Inputs and outputs in the subgraph's order, which is the calling order.
        inputs: Index in the subgraph of each input's tensor.
        outputs: Index in the subgraph of each output's tensor.
    """

    subgraph: int
    signature: Signature
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TFLiteModel:
    """What a TFLite file says about itself.

    Attributes:
        main: What an interpreter runs: subgraph 0, by its signature's names where it has one.
            Where there is a subgraph for each of several sizes, its signature has all of them.
        signatures: All signatures by key, in file order.
        computed: Names of the tensors that operators of the main subgraph compute, in its order.
        ops: Occurrences by operator; a custom one is ``CUSTOM:`` and its name.
        parameter_bytes: Bytes of stored constants by element type.
        entries: Names of the metadata entries.
        metadata: The entries that are short texts, and the author's ModelMetadata.
    """

    version: int
    description: str
    main: EntryPoint
    signatures: dict[str, EntryPoint]
    computed: tuple[str, ...]
    ops: dict[str, int]
    parameter_bytes: dict[str, int]
    entries: tuple[str, ...]
    metadata: dict[str, str]
    notes: tuple[str, ...]


def read_model(path: Path) -> TFLiteModel:
    """Read everything but the weights.

    Raises:
        ArtifactError: the file is missing, damaged or no TFLite model.
    """
    data = map_file(path)
    with reading(path, "TFLite"):
        return _Reader(data).model()


def summarize(path: Path) -> ModelSummary:
    """Return the format-independent summary of a TFLite file.

    Raises:
        ArtifactError: the file is missing, damaged or no TFLite model.
    """
    model = read_model(path)
    return ModelSummary(
        signature=model.main.signature,
        ops=model.ops,
        parameter_bytes=model.parameter_bytes,
        metadata=model.metadata,
        details={
            "schema_version": str(model.version),
            "description": model.description,
            "signatures": ", ".join(model.signatures),
            "metadata_entries": ", ".join(model.entries),
        },
        notes=model.notes,
    )


def typed_operators(path: Path) -> list[tuple[str, str]]:
    """Return every operator with the element type of its first result.

    Raises:
        ArtifactError: the file is missing, damaged or no TFLite model.
    """
    data = map_file(path)
    with reading(path, "TFLite"):
        return list(_Reader(data).typed_ops())


@dataclass(frozen=True)
class Activation:
    """A tensor that exists while the main subgraph runs.

    Attributes:
        size_bytes: Its size for the shape in the file.
        first: Place of the operator that computes it; -1 for an input of the graph.
        last: Place of the last operator that reads it; for an output, of the last of all.
    """

    size_bytes: int
    first: int
    last: int


def activations(path: Path) -> list[Activation]:
    """Return the tensors that an interpreter has to keep while the main subgraph runs.

    Raises:
        ArtifactError: the file is missing, damaged or no TFLite model.
    """
    data = map_file(path)
    with reading(path, "TFLite"):
        return list(_Reader(data).activations())


class _Reader:
    """One file being read: its subgraphs and buffers are listed once, and used in every part."""

    def __init__(self, data: memoryview) -> None:
        self.root = FlatBuffer(data, b"TFL3").root
        self.file_size = len(data)
        self.buffers = list(self.root.tables(4))
        self.subgraphs = list(self.root.tables(2))
        self.tensors = [list(graph.tables(0)) for graph in self.subgraphs]
        self.notes: list[str] = []
        if not self.subgraphs:
            raise ArtifactError("It has no graph.")

    def model(self) -> TFLiteModel:
        signatures = self.signatures()
        main = next((each for each in signatures.values() if each.subgraph == 0), None)
        main = main or self.bare_entry(0)
        return TFLiteModel(
            version=self.root.number(0, "I"),
            description=self.root.text(3),
            main=_at_all_sizes(main, signatures.values()),
            signatures=signatures,
            computed=tuple(self.computed(0)),
            ops=by_size(Counter(self.ops())),
            parameter_bytes=self.parameter_bytes(),
            entries=tuple(entry.text(0) for entry in self.root.tables(6)),
            metadata=dict(self.metadata()),
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def signatures(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for signature in self.root.tables(7):
            graph = signature.number(4, "I")
            subgraph = _at(self.subgraphs, graph, "subgraph")
            inputs = _in_order(signature.tables(0), subgraph.vector(1, "<i4").tolist())
            outputs = _in_order(signature.tables(1), subgraph.vector(2, "<i4").tolist())
            found[signature.text(2)] = self.entry(graph, inputs, outputs)
        return found

    def bare_entry(self, graph: int) -> EntryPoint:
        def named(slot: int) -> list[tuple[str, int]]:
            indices = dict.fromkeys(self.subgraphs[graph].vector(slot, "<i4").tolist())
            return [(self.tensor(graph, index).text(3), index) for index in indices]

        return self.entry(graph, named(1), named(2))

    def entry(
        self, graph: int, inputs: list[tuple[str, int]], outputs: list[tuple[str, int]]
    ) -> EntryPoint:
        takes, gives = list(self.specs(graph, inputs)), list(self.specs(graph, outputs))
        return EntryPoint(
            subgraph=graph,
            signature=Signature(tuple(spec for _, spec in takes), tuple(spec for _, spec in gives)),
            inputs=tuple(index for index, _ in takes),
            outputs=tuple(index for index, _ in gives),
        )

    def specs(self, graph: int, named: list[tuple[str, int]]) -> Iterator[tuple[int, TensorSpec]]:
        """Yield index and spec of each tensor that edgekit has a word for; note the others."""
        for name, index in named:
            tensor = self.tensor(graph, index)
            type_name = _type_of(tensor)
            if type_name not in _BORDER_TYPES:
                self.notes.append(f"{name!r} is left out: edgekit has no {type_name} tensors.")
                continue
            shape = tensor.vector(0, "<i4")
            signature = tensor.vector(7, "<i4")
            dims = (signature if signature.size else shape).tolist()
            yield index, TensorSpec(name, DType(type_name), shape_of(name, dims))

    def tensor(self, graph: int, index: int) -> Table:
        return _at(self.tensors[graph], index, "tensor")

    def computed(self, graph: int) -> Iterator[str]:
        """Yield what operators give, as far as edgekit has a word for its type."""
        for node in self.subgraphs[graph].tables(3):
            given = (self.tensor(graph, index) for index in node.vector(2, "<i4").tolist())
            yield from (each.text(3) for each in given if _type_of(each) in _BORDER_TYPES)

    def ops(self) -> Iterator[str]:
        """Yield the operator of every node in every subgraph."""
        codes = [_op_name(code) for code in self.root.tables(1)]
        for graph in self.subgraphs:
            for node in graph.tables(3):
                yield _at(codes, node.number(0, "I"), "operator code")

    def typed_ops(self) -> Iterator[tuple[str, str]]:
        """Yield the operator of every node, with the element type of its first result."""
        codes = [_op_name(code) for code in self.root.tables(1)]
        for place, graph in enumerate(self.subgraphs):
            for node in graph.tables(3):
                first = node.vector(2, "<i4").tolist()[:1]
                element = _type_of(self.tensor(place, first[0])) if first else ""
                yield _at(codes, node.number(0, "I"), "operator code"), element

    def activations(self) -> Iterator[Activation]:
        graph = self.subgraphs[0]
        nodes = list(graph.tables(3))
        first = dict.fromkeys(graph.vector(1, "<i4").tolist(), -1)
        last = dict(first)
        for place, node in enumerate(nodes):
            last |= dict.fromkeys(node.vector(1, "<i4").tolist(), place)
            first |= dict.fromkeys(node.vector(2, "<i4").tolist(), place)
        last |= dict.fromkeys(graph.vector(2, "<i4").tolist(), len(nodes))
        for index in sorted(first):
            tensor = self.tensor(0, index)
            elements = math.prod(max(size, 1) for size in tensor.vector(0, "<i4").tolist())
            size = elements * _WIDTHS.get(_type_of(tensor), 1)
            yield Activation(size, first[index], last.get(index, first[index]))

    def parameter_bytes(self) -> dict[str, int]:
        """Add up the stored constants, a shared one once, by the type of its first tensor."""
        external = {item.number(0, "I"): item.number(3, "Q") for item in self.root.tables(9)}
        types: dict[tuple[str, int], str] = {}
        for tensor in (tensor for tensors in self.tensors for tensor in tensors):
            for place, slot in (("inside", 2), ("external", 10)):
                types.setdefault((place, tensor.number(slot, "I")), _type_of(tensor))
        sizes: Counter[str] = Counter()
        for (place, index), type_name in types.items():
            sizes[type_name] += (
                external.get(index, 0) if place == "external" else self.buffer_size(index)
            )
        return by_size(sizes)

    def buffer_size(self, index: int) -> int:
        """Return a buffer's bytes, which lie behind the flatbuffer when the model is over 2 GB."""
        buffer = _at(self.buffers, index, "buffer")
        size = buffer.number(2, "Q")
        if size <= 1:  # 1 is what the writer puts in before it knows the place
            return len(buffer.raw(0))
        if buffer.number(1, "Q") + size > self.file_size:
            raise ArtifactError(f"Buffer {index} is longer than the file.")
        return size

    def metadata(self) -> Iterator[tuple[str, str]]:
        for entry in self.root.tables(6):
            name = entry.text(0)
            content = _at(self.buffers, entry.number(1, "I"), "buffer").raw(0)
            if name == "TFLITE_METADATA":
                authored = FlatBuffer(content, b"M001").root
                yield from (
                    (key, authored.text(slot))
                    for slot, key in _AUTHORED.items()
                    if authored.text(slot)
                )
            elif text := _short_text(content):
                yield name, text


def same_call(left: EntryPoint, right: EntryPoint) -> bool:
    """Whether two subgraphs take and give tensors of the same names, types and ranks."""
    sides = [
        [
            [(spec.name, spec.dtype, len(spec.shape)) for spec in side]
            for side in (each.signature.inputs, each.signature.outputs)
        ]
        for each in (left, right)
    ]
    return sides[0] == sides[1]


def _at_all_sizes(main: EntryPoint, entries: Iterable[EntryPoint]) -> EntryPoint:
    """Return `main` with the sizes of all subgraphs that differ from it in nothing else."""
    alike = [entry.signature for entry in entries if same_call(entry, main)]

    def merged(specs: list[TensorSpec]) -> TensorSpec:
        axes = zip(*(spec.shape for spec in specs), strict=True)
        shape = tuple(
            dims[0] if len(set(dims)) == 1 else Dim.among(f"{specs[0].name}_{axis}", dims)
            for axis, dims in enumerate(axes)
        )
        return replace(specs[0], shape=shape)

    if len(alike) < 2 or not all(s.is_static for each in alike for s in each.inputs + each.outputs):
        return main
    signature = Signature(
        tuple(merged(list(specs)) for specs in zip(*(s.inputs for s in alike), strict=True)),
        tuple(merged(list(specs)) for specs in zip(*(s.outputs for s in alike), strict=True)),
    )
    return replace(main, signature=signature)


def _in_order(entries: Iterable[Table], calling_order: list[int]) -> list[tuple[str, int]]:
    """Return the (name, tensor) pairs of a signature, which a file holds in any order."""
    pairs = [(entry.text(0), entry.number(1, "I")) for entry in entries]
    place = {index: position for position, index in reversed(list(enumerate(calling_order)))}
    return sorted(pairs, key=lambda pair: place.get(pair[1], len(place)))


def _type_of(tensor: Table) -> str:
    return _at(_TYPES, tensor.number(1, "b"), "tensor type")


def _op_name(code: Table) -> str:
    # Codes over 127 did not fit the first, one-byte field, which is kept for old readers.
    builtin = max(code.number(0, "b"), code.number(3, "i"))
    if builtin == _CUSTOM:
        return f"CUSTOM:{code.text(1)}"
    return BUILTIN_OPS[builtin] if 0 <= builtin < len(BUILTIN_OPS) else f"BUILTIN:{builtin}"


def _short_text(content: memoryview) -> str:
    """Return a metadata entry that is a short readable text; an empty one for any other."""
    try:
        text = bytes(content[:_LONGEST_TEXT]).rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return ""
    return text if len(content) <= _LONGEST_TEXT and text.isprintable() else ""


def _at(items: Sequence[_T], index: int, what: str) -> _T:
    if not 0 <= index < len(items):
        raise ArtifactError(f"It refers to {what} {index}, and there are {len(items)}.")
    return items[index]
