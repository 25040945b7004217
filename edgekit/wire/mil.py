"""Core ML's ML Program as plain data: MIL.proto decoded into frozen dataclasses.

Field numbers are those of coremltools' ``mlmodel/format/MIL.proto``.  Tensor values stay views into
the spec or the weight file until `Value.array` decodes them.  Whatever a damaged file declares is
checked against the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import ArtifactError
from edgekit.wire.protobuf import Message

Array = npt.NDArray[Any]

# MIL.proto's DataType -> the name that edgekit.tensors.DType uses where it has the type.
DTYPES = {
    1: "bool", 2: "string",
    10: "float16", 11: "float32", 12: "float64", 13: "bfloat16",
    21: "int8", 22: "int16", 23: "int32", 24: "int64", 25: "int4",
    31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64",
    35: "uint4", 36: "uint2", 37: "uint1", 38: "uint6", 39: "uint3",
    40: "float8_e4m3fn", 41: "float8_e5m2",
}  # fmt: skip
_SUB_BYTE = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}
_MAX_DEPTH = 32
_MAX_RANK = 16


@dataclass(frozen=True)
class TensorType:
    """Element type and shape; None marks a dimension known only at run time."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"

    @property
    def elements(self) -> int | None:
        """Number of elements, None when a dimension is unknown."""
        known = [dim for dim in self.shape if dim is not None]
        return math.prod(known) if len(known) == len(self.shape) else None


@dataclass(frozen=True)
class ListType:
    """A list of `element`; `length` is None when it varies."""

    element: ValueType
    length: int | None


@dataclass(frozen=True)
class TupleType:
    """A tuple of the given types."""

    elements: tuple[ValueType, ...]


@dataclass(frozen=True)
class DictionaryType:
    """A dictionary; only attributes and a classifier's probabilities have this type."""

    key: ValueType
    value: ValueType


@dataclass(frozen=True)
class StateType:
    """A tensor that lives from one prediction to the next (iOS18)."""

    wrapped: TensorType


ValueType = TensorType | ListType | TupleType | DictionaryType | StateType


@dataclass(frozen=True)
class Named:
    """The name and type of an input or output."""

    name: str
    type: ValueType


@dataclass(frozen=True)
class Packed:
    """Elements of a tensor as the file holds them: a little-endian, LSB-first bit string."""

    data: memoryview
    in_file: bool


@dataclass(frozen=True)
class Value:
    """A constant.

    Attributes:
        type: Declared type.
        content: Packed elements for a numeric tensor, texts for a string tensor, values for a list
            or tuple, (key, value) pairs for a dictionary.
    """

    type: ValueType
    content: Packed | tuple[Any, ...]

    def text(self) -> str | None:
        """Return the text when this is a string scalar, else None."""
        if isinstance(self.type, TensorType) and self.type == TensorType("string", ()):
            assert isinstance(self.content, tuple)
            return str(self.content[0])
        return None

    def array(self) -> Array:
        """Decode a numeric tensor: a view where numpy has the type, else the next wider type.

        Sub-byte integers become uint8 or int8, bfloat16 becomes float32.

        Raises:
            ArtifactError: this is no numeric tensor, or its type has no decoder.
        """
        kind = self.type
        if not (isinstance(kind, TensorType) and isinstance(self.content, Packed)):
            raise ArtifactError("A constant that must be a numeric tensor is not one.")
        shape = tuple(dim for dim in kind.shape if dim is not None)
        if kind.dtype in _SUB_BYTE:
            return _unpack(self.content.data, kind.dtype, math.prod(shape)).reshape(shape)
        if kind.dtype == "bfloat16":
            high = np.frombuffer(self.content.data, "<u2").astype(np.uint32)
            return (high << 16).view(np.float32).reshape(shape)
        if kind.dtype.startswith("float8"):
            raise ArtifactError(f"edgekit cannot decode {kind.dtype} constants.")
        return np.frombuffer(self.content.data, np.dtype(kind.dtype)).reshape(shape)


@dataclass(frozen=True)
class Operation:
    """One operation; each input is bound to the names of other values, or to constants."""

    type: str
    name: str
    inputs: Mapping[str, tuple[str | Value, ...]]
    outputs: tuple[Named, ...]
    attributes: Mapping[str, Value]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Block:
    """Operations in order; `outputs` are names of values that they, or outer blocks, define."""

    inputs: tuple[Named, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """An entry point: its inputs, its op set (``"CoreML7"``) and the block of that op set."""

    inputs: tuple[Named, ...]
    opset: str
    block: Block


@dataclass(frozen=True)
class Program:
    """An ML Program: functions by name; ``"main"`` is the usual one."""

    functions: Mapping[str, Function]


def operations(program: Program) -> Iterator[Operation]:
    """Yield every operation of every function, nested blocks included, in file order."""

    def walk(block: Block) -> Iterator[Operation]:
        for operation in block.operations:
            yield operation
            for nested in operation.blocks:
                yield from walk(nested)

    for function in program.functions.values():
        yield from walk(function.block)


def weight_bytes(program: Program) -> dict[str, int]:
    """Return the bytes that constants take in the weight file, by element type.

    A blob that several operations share is counted once.
    """
    seen: dict[int, tuple[str, int]] = {}
    for operation in operations(program):
        bound = [item for values in operation.inputs.values() for item in values]
        for value in (*operation.attributes.values(), *bound):
            if isinstance(value, Value) and isinstance(value.content, Packed):
                packed, kind = value.content, value.type
                if packed.in_file and isinstance(kind, TensorType):
                    start = np.frombuffer(packed.data, np.uint8).ctypes.data
                    seen[start] = (kind.dtype, len(packed.data))
    totals: Counter[str] = Counter()
    for dtype, size in seen.values():
        totals[dtype] += size
    return dict(totals)


BlobReader = Callable[[str, int, str], memoryview]
"""Given a blob file's name, an offset and an element type, returns the blob's bytes."""


class Parser:
    """Decodes the messages of one model; `read_blob` resolves values that lie in weight files."""

    def __init__(self, read_blob: BlobReader) -> None:
        self._read_blob = read_blob

    def program(self, message: Message) -> Program:
        """Decode a ``Program`` message.

        Raises:
            ArtifactError: the message is damaged or contradicts itself or the weight file.
        """
        functions = {name: self._function(found) for name, found in message.mapping(2).items()}
        if not functions:
            raise ArtifactError("The ML Program has no function.")
        return Program(functions)

    def _function(self, message: Message) -> Function:
        opset = message.text(2)
        block = message.mapping(3).get(opset)
        if block is None:
            raise ArtifactError(f"A function of the ML Program has no block for op set {opset!r}.")
        return Function(self._named(message, 1), opset, self._block(block, 0))

    def _block(self, message: Message, depth: int) -> Block:
        _check_depth(depth)
        found = tuple(self._operation(item, depth) for item in message.messages(3))
        return Block(self._named(message, 1), found, tuple(message.texts(2)))

    def _operation(self, message: Message, depth: int) -> Operation:
        attributes = {name: self._value(item, 0) for name, item in message.mapping(5).items()}
        outputs = self._named(message, 3)
        name = attributes.pop("name", None)
        fallback = outputs[0].name if outputs else message.text(1)
        return Operation(
            message.text(1),
            (name.text() if name else None) or fallback,
            {
                key: tuple(self._binding(bound) for bound in argument.messages(1))
                for key, argument in message.mapping(2).items()
            },
            outputs,
            attributes,
            tuple(self._block(item, depth + 1) for item in message.messages(4)),
        )

    def _binding(self, message: Message) -> str | Value:
        return self._value(message.message(2), 0) if 2 in message else message.text(1)

    def _named(self, message: Message, field: int) -> tuple[Named, ...]:
        return tuple(
            Named(item.text(1), parse_type(item.message(2))) for item in message.messages(field)
        )

    def _value(self, message: Message, depth: int) -> Value:
        _check_depth(depth)
        kind = parse_type(message.message(2))
        if 5 in message:
            blob = message.message(5)
            if not isinstance(kind, TensorType) or kind.dtype == "string":
                raise ArtifactError("A value in the weight file is not typed as a numeric tensor.")
            data = self._read_blob(blob.text(1), blob.integer(2), kind.dtype)
            return Value(kind, Packed(_fitting(data, kind), in_file=True))
        immediate = message.message(3)
        if isinstance(kind, TensorType):
            return Value(kind, _tensor(immediate.message(1), kind))
        if 4 in immediate:
            pairs = immediate.message(4).messages(1)
            return Value(
                kind,
                tuple(
                    (self._value(p.message(1), depth + 1), self._value(p.message(2), depth + 1))
                    for p in pairs
                ),
            )
        items = immediate.message(3 if 3 in immediate else 2).messages(1)
        return Value(kind, tuple(self._value(item, depth + 1) for item in items))


def parse_type(message: Message, depth: int = 0) -> ValueType:
    """Decode a ``ValueType`` message.

    Raises:
        ArtifactError: the type is unknown, too deep, or has impossible dimensions.
    """
    _check_depth(depth)
    if 1 in message:
        return _tensor_type(message.message(1))
    if 2 in message:
        found = message.message(2)
        return ListType(parse_type(found.message(1), depth + 1), _dimension(found.message(2)))
    if 3 in message:
        members = message.message(3).messages(1)
        return TupleType(tuple(parse_type(member, depth + 1) for member in members))
    if 4 in message:
        found = message.message(4)
        return DictionaryType(
            parse_type(found.message(1), depth + 1), parse_type(found.message(2), depth + 1)
        )
    if 5 in message:
        wrapped = parse_type(message.message(5).message(1), depth + 1)
        if isinstance(wrapped, TensorType):
            return StateType(wrapped)
    raise ArtifactError("The ML Program holds a value of unknown type.")


def _tensor_type(message: Message) -> TensorType:
    dtype = DTYPES.get(message.integer(1))
    dims = tuple(_dimension(item) for item in message.messages(3))
    if dtype is None:
        raise ArtifactError(f"The ML Program uses an unknown data type ({message.integer(1)}).")
    if message.integer(2) != len(dims) or len(dims) > _MAX_RANK:
        raise ArtifactError("A tensor type of the ML Program contradicts its own rank.")
    return TensorType(dtype, dims)


def _dimension(message: Message) -> int | None:
    if 1 not in message:
        return None
    size = message.message(1).integer(1)
    if size < 0:
        raise ArtifactError("A tensor type of the ML Program has a negative dimension.")
    return size


def _tensor(message: Message, kind: TensorType) -> Packed | tuple[str, ...]:
    """Decode a ``TensorValue`` message: one repeated field, chosen by the element type."""
    if kind.dtype == "string":
        texts = tuple(message.message(4).texts(1))
        if len(texts) != kind.elements:
            raise ArtifactError(f"A constant of type {kind} holds {len(texts)} texts.")
        return texts
    for field in (1, 6, 7):  # floats, doubles, bytes: already little-endian in the file
        if field in message:
            chunks = message.message(field).raws(1)
            data = chunks[0] if len(chunks) == 1 else memoryview(b"".join(chunks))
            return Packed(_fitting(data, kind), in_file=False)
    items = [item for field in (2, 3, 5) for item in message.message(field).integers(1)]
    if kind.dtype not in ("bool", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        raise ArtifactError(f"A constant of type {kind} is stored as integers.")
    wrapped = np.array(items, np.int64).astype(np.dtype(kind.dtype))
    return Packed(_fitting(memoryview(wrapped.tobytes()), kind), in_file=False)


def _fitting(data: memoryview, kind: TensorType) -> memoryview:
    """Return `data` when it is just as long as a tensor of type `kind` is."""
    count = kind.elements
    if count is None:
        raise ArtifactError("A constant of the ML Program has an unknown dimension.")
    if len(data) != -(-count * bits(kind.dtype) // 8):
        raise ArtifactError(f"A constant of type {kind} has {len(data)} bytes.")
    return data


def bits(dtype: str) -> int:
    """Return the bits that one element of a numeric type takes in a file."""
    if dtype in _SUB_BYTE:
        return _SUB_BYTE[dtype]
    if dtype.startswith("float8"):
        return 8
    return 16 if dtype == "bfloat16" else np.dtype(dtype).itemsize * 8


def _unpack(data: memoryview, dtype: str, count: int) -> Array:
    width = _SUB_BYTE[dtype]
    planes = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * width]
    codes = planes.reshape(count, width) @ (1 << np.arange(width, dtype=np.uint8))
    if dtype == "int4":
        return ((codes.astype(np.int8) ^ 8) - 8).astype(np.int8)
    return codes.astype(np.uint8)


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ArtifactError("The ML Program is nested deeper than any real one.")
