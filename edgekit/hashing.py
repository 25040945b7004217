"""The identity of an artifact, which is a file or (``.mlpackage``) a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgekit.errors import ArtifactError


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of a folder's listing, in hexadecimal.

    A folder's listing has one line ``relative/path NUL sha256 LF`` per file, sorted by path, so it
    does not depend on times, modes or the order on disk.

    Raises:
        ArtifactError: the path is missing or cannot be read.
    """
    if not path.is_dir():
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None
    return listing_sha256(
        {file.relative_to(path).as_posix(): sha256_of(file) for file in _files(path)}
    )


def listing_sha256(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of a folder's listing, from the SHA-256 of each file by relative path."""
    lines = (f"{name}\0{sha256}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder.

    Raises:
        ArtifactError: the path is missing.
    """
    try:
        return sum(file.stat().st_size for file in (_files(path) if path.is_dir() else [path]))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())
