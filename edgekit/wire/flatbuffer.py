"""A reader of FlatBuffers: tables whose fields are found by slot number.

Source: https://flatbuffers.dev/internals/.  Every offset is checked against the buffer before it is
followed, and vectors are views into the buffer, so reading costs nothing for the weights inside.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import ArtifactError

_OFFSET = struct.Struct("<I")
_SIGNED_OFFSET = struct.Struct("<i")
_VTABLE_SIZE = struct.Struct("<H")


class FlatBuffer:
    """A whole buffer; `root` is the way in."""

    def __init__(self, data: memoryview | bytes, identifier: bytes) -> None:
        """Check the four bytes that name the buffer's schema.

        Raises:
            ArtifactError: the buffer is of another schema.
        """
        self.data = memoryview(data)
        # A table takes at least four bytes, so only offsets that share tables exceed this.
        self._tables_left = len(self.data)
        if bytes(self.data[4:8]) != identifier:
            raise ArtifactError(f"It does not have the identifier {identifier.decode()}.")

    @property
    def root(self) -> Table:
        """The outermost table."""
        return Table(self, self.follow(0))

    def number(self, kind: struct.Struct, position: int) -> Any:
        """Return the number stored at `position`."""
        if not 0 <= position <= len(self.data) - kind.size:
            raise ArtifactError(f"An offset leads to byte {position}, outside of the file.")
        return kind.unpack_from(self.data, position)[0]

    def follow(self, position: int) -> int:
        """Return the place that the offset stored at `position` leads to."""
        return position + int(self.number(_OFFSET, position))

    def count_table(self) -> None:
        """Take note that a table is being read; a damaged buffer can seem to hold billions."""
        self._tables_left -= 1
        if self._tables_left < 0:
            raise ArtifactError("It has more tables than bytes.")


class Table:
    """One table: its fields by slot number, decoded as the caller asks."""

    def __init__(self, buffer: FlatBuffer, position: int) -> None:
        buffer.count_table()
        vtable = position - buffer.number(_SIGNED_OFFSET, position)
        size = buffer.number(_VTABLE_SIZE, vtable)
        if size < 4 or vtable + size > len(buffer.data):
            raise ArtifactError(f"The table at byte {position} has no valid field list.")
        slots = (size - 4) // 2
        self._buffer = buffer
        self._position = position
        self._slots = struct.unpack_from(f"<{slots}H", buffer.data, vtable + 4)

    def number(self, slot: int, kind: str, default: int = 0) -> int:
        """Return a scalar field; `kind` is its letter in the module `struct`."""
        place = self._place(slot)
        return (
            default if place is None else int(self._buffer.number(struct.Struct("<" + kind), place))
        )

    def vector(self, slot: int, dtype: str) -> npt.NDArray[Any]:
        """Return a vector of numbers as a view, empty when absent; `dtype` is numpy's."""
        start, count = self._vector(slot, np.dtype(dtype).itemsize)
        return np.frombuffer(self._buffer.data, dtype, count, start)

    def raw(self, slot: int) -> memoryview:
        """Return a vector of bytes as a view, empty when absent."""
        start, count = self._vector(slot, 1)
        return self._buffer.data[start : start + count]

    def text(self, slot: int) -> str:
        """Return a string field, empty when absent."""
        try:
            return bytes(self.raw(slot)).decode()
        except UnicodeDecodeError:
            raise ArtifactError("A text in it is not UTF-8.") from None

    def tables(self, slot: int) -> Iterator[Table]:
        """Yield the tables of a vector of tables, none when absent."""
        start, count = self._vector(slot, _OFFSET.size)
        for place in range(start, start + count * _OFFSET.size, _OFFSET.size):
            yield Table(self._buffer, self._buffer.follow(place))

    def _place(self, slot: int) -> int | None:
        """Return where a field is stored; None when the table leaves it out."""
        offset = self._slots[slot] if slot < len(self._slots) else 0
        return self._position + offset if offset else None

    def _vector(self, slot: int, item_size: int) -> tuple[int, int]:
        """Return where a vector's items begin, and how many they are."""
        place = self._place(slot)
        if place is None:
            return 0, 0
        start = self._buffer.follow(place)
        count = self._buffer.number(_OFFSET, start)
        start += _OFFSET.size
        if start + count * item_size > len(self._buffer.data):
            raise ArtifactError(f"The vector at byte {start} is longer than the file.")
        return start, count
