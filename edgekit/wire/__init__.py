"""Reading model files with nothing but numpy.

The vendors' libraries that write these files are heavy and absent on a device; inspecting a file,
and the Core ML reference runtime, need only to read them.  Each module here has
``summarize(path) -> ModelSummary``.
"""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ArtifactError
from edgekit.tensors import Dim, Shape, Signature


@dataclass(frozen=True)
class ModelSummary:
    """What a model file says about itself, in words that all formats share.

    Attributes:
        signature: Inputs and outputs in calling order.
        ops: How often each operator occurs, the most frequent first.
        parameter_bytes: Bytes of stored constants by element type, the largest first.
        metadata: What the model's author wrote into the file, by key.
        details: Facts of the format, such as its version and operator set.
        notes: What a reader must know that fits nowhere above.
    """

    signature: Signature
    ops: dict[str, int]
    parameter_bytes: dict[str, int]
    metadata: dict[str, str]
    details: dict[str, str]
    notes: tuple[str, ...] = ()


def map_file(path: Path) -> memoryview:
    """Return the file's bytes, mapped into memory and not read until they are touched.

    Raises:
        ArtifactError: there is no such file, it cannot be read, or it is empty.
    """
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError:
        raise ArtifactError(f"{path} is empty.") from None
    except FileNotFoundError:
        raise ArtifactError(f"There is no file {path}.") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Name the file, and what it should have been, in every `ArtifactError` raised inside."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(f"{path} is no readable {kind} file: {error.message}") from None


def shape_of(name: str, dims: Iterable[int | str | None]) -> Shape:
    """Return the shape of tensor `name`: a negative or missing size, or a text, may vary."""
    return tuple(
        Dim(dim or f"{name}_{axis}")
        if isinstance(dim, str)
        else Dim(f"{name}_{axis}")
        if dim is None or dim < 0
        else int(dim)
        for axis, dim in enumerate(dims)
    )


def bits_of(type_name: str) -> int:
    """Return the bits of one element: the first number in the name; 0 where its size varies."""
    if type_name == "bool":
        return 8
    digits = re.search(r"\d+", type_name)
    return int(digits.group()) if digits else 0


def by_size(amounts: Counter[str]) -> dict[str, int]:
    """Return the amounts that are not zero, the largest first, equal ones by name."""
    ordered = sorted(amounts.items(), key=lambda item: (-item[1], item[0]))
    return {name: amount for name, amount in ordered if amount}
