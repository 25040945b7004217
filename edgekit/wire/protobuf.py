"""A reader of the protobuf wire format: bytes in, numbered fields out.

Source: https://protobuf.dev/programming-guides/encoding/.  Values are views into the buffer that
was given, so reading a message costs nothing for the weights inside it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property

from edgekit.errors import ArtifactError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_SIGN = 1 << 63


class Message:
    """One message: its fields by number, decoded as the caller asks."""

    def __init__(self, data: memoryview | bytes) -> None:
        self.data = memoryview(data)

    @cached_property
    def fields(self) -> dict[int, list[int | memoryview]]:
        """All fields in file order: varints as unsigned integers, the others as raw bytes."""
        found: dict[int, list[int | memoryview]] = {}
        for number, value in scan(self.data):
            found.setdefault(number, []).append(value)
        return found

    def __contains__(self, number: int) -> bool:
        return number in self.fields

    def integer(self, number: int, default: int = 0) -> int:
        """Return a varint field (the last one wins) as a signed 64-bit integer."""
        values = self.fields.get(number)
        if not values:
            return default
        value = values[-1]
        if not isinstance(value, int):
            raise ArtifactError(f"Field {number} of a protobuf message is not an integer.")
        return value - 2 * _SIGN if value >= _SIGN else value

    def integers(self, number: int) -> list[int]:
        """Return a repeated integer field, packed or not, as signed 64-bit integers."""
        out: list[int] = []
        for value in self.fields.get(number, []):
            if isinstance(value, int):
                out.append(value)
            else:
                position = 0
                while position < len(value):
                    item, position = varint(value, position)
                    out.append(item)
        return [item - 2 * _SIGN if item >= _SIGN else item for item in out]

    def raw(self, number: int) -> memoryview:
        """Return a bytes field (the last one wins), empty when absent."""
        values = self.fields.get(number)
        if not values:
            return memoryview(b"")
        return self._bytes(values[-1], number)

    def raws(self, number: int) -> list[memoryview]:
        """Return a repeated bytes field."""
        return [self._bytes(value, number) for value in self.fields.get(number, [])]

    def text(self, number: int) -> str:
        """Return a string field, empty when absent."""
        return _decode(self.raw(number))

    def texts(self, number: int) -> list[str]:
        """Return a repeated string field."""
        return [_decode(value) for value in self.raws(number)]

    def message(self, number: int) -> Message:
        """Return an embedded message, empty when absent."""
        return Message(self.raw(number))

    def messages(self, number: int) -> list[Message]:
        """Return a repeated embedded message."""
        return [Message(value) for value in self.raws(number)]

    def float32(self, number: int, default: float = 0.0) -> float:
        """Return a 32-bit floating-point field."""
        return self._float("<f", number, default)

    def float64(self, number: int, default: float = 0.0) -> float:
        """Return a 64-bit floating-point field."""
        return self._float("<d", number, default)

    def mapping(self, number: int) -> dict[str, Message]:
        """Return a ``map<string, Message>`` field."""
        return {entry.text(1): entry.message(2) for entry in self.messages(number)}

    def _float(self, layout: str, number: int, default: float) -> float:
        if number not in self:
            return default
        stored = self.raw(number)
        if len(stored) != struct.calcsize(layout):
            raise ArtifactError(f"Field {number} of a protobuf message is of another width.")
        return float(struct.unpack(layout, stored)[0])

    @staticmethod
    def _bytes(value: int | memoryview, number: int) -> memoryview:
        if isinstance(value, int):
            raise ArtifactError(f"Field {number} of a protobuf message is not a byte string.")
        return value


def scan(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) in file order.

    Raises:
        ArtifactError: the bytes are not a whole protobuf message.
    """
    position, end = 0, len(data)
    while position < end:
        key, position = varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, position = varint(data, position)
            yield number, value
            continue
        if kind == BYTES:
            size, position = varint(data, position)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ArtifactError(f"Not a protobuf message: wire type {kind} at byte {position}.")
        if number == 0 or position + size > end:
            raise ArtifactError(f"Not a whole protobuf message: it ends inside field {number}.")
        yield number, data[position : position + size]
        position += size


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """Decode one unsigned varint; return it and the position after it."""
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2 * _SIGN - 1), position
        shift += 7
    raise ArtifactError(f"Not a protobuf message: a number does not end at byte {position}.")


def _decode(value: memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise ArtifactError("A text in a protobuf message is not UTF-8.") from None
