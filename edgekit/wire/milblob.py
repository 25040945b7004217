"""Core ML's weight file, format 2: a header, then 64-byte-aligned pairs of metadata and data.

Source: coremltools' ``mlmodel/src/MILBlob/Blob/StorageFormat.hpp`` and ``BlobDataType.hpp``.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from edgekit.errors import ArtifactError

_HEADER = struct.Struct("<II56x")  # count, version
_METADATA = struct.Struct("<IIQQQ32x")  # sentinel, type, bytes, offset, padding bits
_SENTINEL = 0xDEADBEEF
_ALIGNMENT = 64
_TYPES = {
    1: "float16", 2: "float32", 3: "uint8", 4: "int8", 5: "bfloat16", 6: "int16", 7: "uint16",
    8: "int4", 9: "uint1", 10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32",
    15: "uint32", 16: "float8_e4m3fn", 17: "float8_e5m2",
}  # fmt: skip


class BlobFile:
    """A weight file, mapped into memory; pages are read when their weights are."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._data = _map(path)
        if len(self._data) < _HEADER.size:
            raise ArtifactError(f"The weight file {path.name} is cut short.")
        version = _HEADER.unpack_from(self._data)[1]
        if version != 2:
            raise ArtifactError(
                f"The weight file {path.name} is of version {version}; edgekit reads version 2."
            )

    def read(self, offset: int, dtype: str) -> memoryview:
        """Return the bytes of the blob whose metadata stands at `offset`.

        Raises:
            ArtifactError: there is no such blob, it holds another type, or it leaves the file.
        """
        where = f"The weight file {self._name} at offset {offset}"
        if offset % _ALIGNMENT or not 0 <= offset <= len(self._data) - _METADATA.size:
            raise ArtifactError(f"{where} cannot hold a weight.")
        sentinel, code, size, start, _ = _METADATA.unpack_from(self._data, offset)
        if sentinel != _SENTINEL:
            raise ArtifactError(f"{where} holds no weight: the marker is missing.")
        if _TYPES.get(code) != dtype:
            found = _TYPES.get(code, f"unknown type {code}")
            raise ArtifactError(f"{where} holds {found} where the program says {dtype}.")
        if start % _ALIGNMENT or start + size > len(self._data):
            raise ArtifactError(f"{where} declares a weight that lies outside of the file.")
        return self._data[start : start + size]


def _map(path: Path) -> memoryview:
    """Map a whole file, privately: torch wants memory that may be written, the file never is."""
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path.name} cannot be read: {error}.") from None
