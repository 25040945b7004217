"""Core ML's ML Program as plain data.

Tensor values stay views into the specification or the weight file until `Value.array` decodes them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import ArtifactError

Array = npt.NDArray[Any]

_SUB_BYTE = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}


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
