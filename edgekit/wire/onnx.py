"""Reading an ONNX model file.

Source of the field and enumeration numbers: onnx/onnx.proto of ONNX 1.19.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edgekit.errors import ArtifactError
from edgekit.tensors import DType, Signature, TensorSpec
from edgekit.wire import ModelSummary, bits_of, by_size, map_file, reading, shape_of
from edgekit.wire.protobuf import Message

_TYPE_NAMES = (
    "undefined float32 uint8 int8 uint16 int16 int32 int64 string bool float16 float64 uint32 "
    "uint64 complex64 complex128 bfloat16 float8e4m3fn float8e4m3fnuz float8e5m2 float8e5m2fnuz "
    "uint4 int4 float4e2m1 float8e8m0 uint2 int2 float6e2m3 float6e3m2"
)
_TYPES = _TYPE_NAMES.split()
_BORDER_TYPES = {dtype.value for dtype in DType}
_DEFAULT_DOMAINS = ("", "ai.onnx")
_EXTERNAL = 1


@dataclass(frozen=True)
class ExternalFile:
    """A file beside the model that holds weights.

    Attributes:
        location: As the model spells it, relative to the model's folder.
        needed: Bytes that it must have for every tensor in it to be whole.
        size: Bytes that it has; None when it is missing or outside of the model's folder.
    """

    location: str
    needed: int
    size: int | None

    @property
    def problem(self) -> str | None:
        """What is wrong with the file, in one sentence."""
        if self.size is None:
            return f"The weights file {self.location!r} is not beside the model."
        if self.size < self.needed:
            return (
                f"The weights file {self.location!r} is cut off: it has {self.size} bytes and the "
                f"model needs {self.needed}."
            )
        return None


_BYTES = {2, 3}  # TensorProto's uint8 and int8


@dataclass(frozen=True)
class OnnxModel:
    """What an ONNX file says about itself.

    Attributes:
        opsets: Version of each operator set by domain; the default domain is ``ai.onnx``.
        producer: Name and version of the program that wrote the file.
        computed: Names of the values that nodes of the graph itself compute, in the file's order.
        ops: Occurrences by operator, in nested graphs and local functions too; outside of the
            default domain as ``domain::Op``.
        parameter_bytes: Bytes of all stored tensors by element type, external ones included.
    """

    ir_version: int
    opsets: dict[str, int]
    producer: str
    graph_name: str
    doc: str
    metadata: dict[str, str]
    signature: Signature
    computed: tuple[str, ...]
    ops: dict[str, int]
    parameter_bytes: dict[str, int]
    external: tuple[ExternalFile, ...]
    notes: tuple[str, ...]


def read_model(path: Path) -> OnnxModel:
    """Read everything but the weights.

    Raises:
        ArtifactError: the file is missing, damaged or no ONNX model.
    """
    data = map_file(path)
    with reading(path, "ONNX"):
        return _Reader(Message(data), path.parent).model()


@dataclass(frozen=True)
class Node:
    """A node of the main graph; `weights` are those of its inputs that the file holds."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]


def read_nodes(path: Path) -> list[Node]:
    """Return the nodes of the main graph, in order.

    Raises:
        ArtifactError: the file is missing, damaged or no ONNX model.
    """
    data = map_file(path)
    with reading(path, "ONNX"):
        graph = Message(data).message(7)
        known = {tensor.text(8) for tensor in graph.messages(5)}
        return [
            Node(
                node.text(3),
                tuple(node.texts(1)),
                tuple(node.texts(2)),
                tuple(name for name in node.texts(1) if name in known),
            )
            for node in graph.messages(1)
        ]


def integer_clamps(path: Path) -> int:
    """Return how many nodes `Clip` of the main graph have 8-bit integers as their bounds."""
    data = map_file(path)
    with reading(path, "ONNX"):
        graph = Message(data).message(7)
        narrow = {t.text(8) for t in graph.messages(5) if t.integer(2) in _BYTES}
        clips = (node.texts(1) for node in graph.messages(1) if node.text(4) == "Clip")
        return sum(not narrow.isdisjoint(inputs) for inputs in map(list, clips))


def summarize(path: Path) -> ModelSummary:
    """Return the format-independent summary of an ONNX file.

    Raises:
        ArtifactError: the file is missing, damaged or no ONNX model.
    """
    model = read_model(path)
    description = {"description": model.doc} if model.doc else {}
    return ModelSummary(
        signature=model.signature,
        ops=model.ops,
        parameter_bytes=model.parameter_bytes,
        metadata=description | model.metadata,
        details={
            "ir_version": str(model.ir_version),
            "opset": ", ".join(f"{domain} {version}" for domain, version in model.opsets.items()),
            "producer": model.producer,
            "graph": model.graph_name,
            "external_data": ", ".join(file.location for file in model.external),
        },
        notes=model.notes,
    )


def with_outputs(data: memoryview, names: Iterable[str]) -> bytes:
    """Return a model's bytes with `names`, values inside its graph, as further outputs.

    A message that occurs twice is merged by every protobuf parser, so that appending a graph that
    has nothing but outputs adds them: see
    https://protobuf.dev/programming-guides/encoding/#last-one-wins.
    """
    outputs = b"".join(_field(12, _field(1, name.encode())) for name in names)
    return bytes(data) + _field(7, outputs)


class _Reader:
    """One file being read; every graph in it is visited once."""

    def __init__(self, root: Message, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self.graph = root.message(7)
        self.ops: Counter[str] = Counter()
        self.parameter_bytes: Counter[str] = Counter()
        self.external: dict[str, ExternalFile] = {}
        self.notes: list[str] = []
        if not root.integer(1) or 7 not in root:
            raise ArtifactError("It has no graph.")

    def model(self) -> OnnxModel:
        signature = self.signature()
        self.visit_graphs()
        external = tuple(self.external.values())
        problems = (file.problem for file in external)
        return OnnxModel(
            ir_version=self.root.integer(1),
            opsets={item.text(1) or "ai.onnx": item.integer(2) for item in self.root.messages(8)},
            producer=" ".join(filter(None, (self.root.text(2), self.root.text(3)))),
            graph_name=self.graph.text(2),
            doc=self.root.text(6),
            metadata={entry.text(1): entry.text(2) for entry in self.root.messages(14)},
            signature=signature,
            computed=tuple(self.computed()),
            ops=by_size(self.ops),
            parameter_bytes=by_size(self.parameter_bytes),
            external=external,
            notes=(*self.notes, *filter(None, problems)),
        )

    def signature(self) -> Signature:
        # Files before IR version 4 list every initializer among the inputs.
        constants = {tensor.text(8) for tensor in self.graph.messages(5)}
        inputs = [item for item in self.graph.messages(11) if item.text(1) not in constants]
        return Signature(tuple(self.specs(inputs)), tuple(self.specs(self.graph.messages(12))))

    def specs(self, values: list[Message]) -> Iterator[TensorSpec]:
        """Yield the spec of each value that is a tensor; note the others."""
        for value in values:
            name, tensor = value.text(1), value.message(2).message(1)
            type_name = _type_name(tensor.integer(1))
            if type_name not in _BORDER_TYPES:
                what = "no tensor" if type_name == "undefined" else f"a tensor of {type_name}"
                self.notes.append(f"{name!r} is left out: it is {what}.")
                continue
            if 2 not in tensor:
                self.notes.append(f"The file does not say how many axes {name!r} has.")
            dims = (_dim(dim) for dim in tensor.message(2).messages(1))
            yield TensorSpec(name, DType(type_name), shape_of(name, dims))

    def computed(self) -> Iterator[str]:
        """Yield what nodes give, constants left out, and optional outputs that nobody reads."""
        for node in self.graph.messages(1):
            if node.text(4) != "Constant":
                yield from filter(None, node.texts(2))

    def visit_graphs(self) -> None:
        """Count the nodes and tensors of the graph, and of all graphs nested in it."""
        waiting = [(self.graph, 1), *((function, 7) for function in self.root.messages(25))]
        while waiting:
            graph, nodes = waiting.pop()
            for node in graph.messages(nodes):
                domain, op = node.text(7), node.text(4)
                self.ops[op if domain in _DEFAULT_DOMAINS else f"{domain}::{op}"] += 1
                for attribute in node.messages(5):
                    waiting += [(nested, 1) for nested in _nested_graphs(attribute)]
                    self.count_tensors(attribute.messages(5) + attribute.messages(10))
            if nodes == 1:
                sparse = [item.message(part) for item in graph.messages(15) for part in (1, 2)]
                self.count_tensors(graph.messages(5) + sparse)

    def count_tensors(self, tensors: list[Message]) -> None:
        for tensor in tensors:
            type_name = _type_name(tensor.integer(2))
            dims = tensor.integers(1)
            if any(dim < 0 for dim in dims):
                raise ArtifactError(f"Tensor {tensor.text(8)!r} has the shape {dims}.")
            size = -(-math.prod(dims) * bits_of(type_name) // 8)
            if type_name == "string":
                size = sum(len(text) for text in tensor.raws(6))
            if 9 in tensor and len(tensor.raw(9)) != size:
                raise ArtifactError(
                    f"Tensor {tensor.text(8)!r} has {len(tensor.raw(9))} bytes instead of {size}."
                )
            if tensor.integer(14) == _EXTERNAL:
                self.count_external(tensor, size)
            self.parameter_bytes[type_name] += size

    def count_external(self, tensor: Message, size: int) -> None:
        """Note which file holds the tensor, and how long that makes the file."""
        entries = {entry.text(1): entry.text(2) for entry in tensor.messages(13)}
        location = entries.get("location", "")
        try:
            end = int(entries.get("offset") or 0) + int(entries.get("length") or size)
        except ValueError:
            raise ArtifactError(f"Tensor {tensor.text(8)!r} is at no valid place.") from None
        known = self.external.get(location)
        if known is None:
            known = ExternalFile(location, 0, _size_inside(self.folder, location))
        self.external[location] = replace(known, needed=max(known.needed, end))


def _field(number: int, content: bytes) -> bytes:
    """Return a protobuf field of bytes, text or an embedded message."""
    header, size = bytearray([number << 3 | 2]), len(content)
    while size > 0x7F:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    return bytes(header) + content


def _nested_graphs(attribute: Message) -> list[Message]:
    one = [attribute.message(6)] if 6 in attribute else []
    return one + attribute.messages(11)


def _dim(dim: Message) -> int | str | None:
    return dim.integer(1) if 1 in dim else dim.text(2) or None


def _type_name(number: int) -> str:
    if not 0 <= number < len(_TYPES):
        raise ArtifactError(f"It has tensors of the unknown type {number}.")
    return _TYPES[number]


def _size_inside(folder: Path, location: str) -> int | None:
    """Return the size of a file in the model's folder; None when there is none of that name."""
    inside = PurePosixPath(location)
    if inside.is_absolute() or ".." in inside.parts:
        return None
    try:
        file = folder / inside
        return file.stat().st_size if file.is_file() else None
    except (OSError, ValueError):  # a damaged name: too long, or with a NUL in it
        return None
