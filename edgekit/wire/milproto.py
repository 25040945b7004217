"""Decodes MIL.proto, the messages of an ML Program, into the dataclasses of `edgekit.wire.mil`.

Field numbers are those of coremltools' ``mlmodel/format/MIL.proto``.  Whatever a damaged file
declares is checked against the bytes that are there before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.errors import ArtifactError
from edgekit.wire.mil import (
    Block,
    DictionaryType,
    Function,
    ListType,
    Named,
    Operation,
    Packed,
    Program,
    StateType,
    TensorType,
    TupleType,
    Value,
    ValueType,
    bits,
)
from edgekit.wire.protobuf import Message

# MIL.proto's DataType -> the name that edgekit.tensors.DType uses where it has the type.
_DTYPES = {
    1: "bool", 2: "string",
    10: "float16", 11: "float32", 12: "float64", 13: "bfloat16",
    21: "int8", 22: "int16", 23: "int32", 24: "int64", 25: "int4",
    31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64",
    35: "uint4", 36: "uint2", 37: "uint1", 38: "uint6", 39: "uint3",
    40: "float8_e4m3fn", 41: "float8_e5m2",
}  # fmt: skip
_MAX_DEPTH = 32
_MAX_RANK = 16

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
    dtype = _DTYPES.get(message.integer(1))
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


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ArtifactError("The ML Program is nested deeper than any real one.")
