"""The inputs of one call: parsed from the command line, taken from the source, bound to names."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.arguments import Call, added, bind, complete, dtype_of
from edgekit.errors import SourceError, UsageError
from edgekit.importing import SEED
from edgekit.runtimes import Array, Arrays
from edgekit.source import Arguments
from edgekit.tensors import Dim, DType, Shape

if TYPE_CHECKING:
    import torch

_DIM = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?"
    r"(?:(?P<sizes>\d+(?:\|\d+)+)|(?P<min>\d+)(?:(?P<range>\.\.)(?P<max>\d*))?)"
)

# what PyTorch can make example values of
DTYPES = {
    dtype.value: dtype
    for dtype in DType
    if dtype not in {DType.INT4, DType.UINT4, DType.STRING, DType.COMPLEX128}
}


@dataclass(frozen=True)
class InputSpec:
    """One input as the user describes it: ``name:dims[:dtype]``, e.g. ``image:1..8,3,224,224``.

    A dimension is a number, a range ``min..max`` (``max`` may be left out) that makes it dynamic,
    or a list ``64|128|256`` of the only sizes that it takes; ``batch=1..8`` names it, and equal
    names mean equal sizes.
    """

    name: str
    shape: Shape
    dtype: DType | None = None

    @staticmethod
    def parse(text: str) -> InputSpec:
        """Parse ``name:dims[:dtype]``.

        Raises:
            UsageError: the text is not of that form.
        """
        hint = 'Write it as "name:1,3,224,224", "name:1..8,3,224,224" or "name:1,128:int64".'
        name, *rest = text.split(":")
        if not rest or len(rest) > 2 or not name.isidentifier():
            raise UsageError(f"--input {text!r} is not understood.", hint)
        dims = [dim.strip() for dim in rest[0].split(",")] if rest[0].strip() else []
        shape = tuple(_parse_dim(dim, name, axis, text) for axis, dim in enumerate(dims))
        dtype = DTYPES.get(rest[1].strip()) if len(rest) == 2 else None
        if len(rest) == 2 and dtype is None:
            raise UsageError(
                f"--input {text!r}: {rest[1].strip()!r} is no element type of PyTorch.",
                f"Known: {', '.join(DTYPES)}.",
            )
        return InputSpec(name, shape, dtype)

    def __str__(self) -> str:
        dims = ",".join(map(str, self.shape))
        return f"{self.name}:{dims}" + (f":{self.dtype.value}" if self.dtype else "")

    def bucketed(self, sizes: Sequence[int]) -> InputSpec:
        """Return the input with only these `sizes` where it had a range.

        Raises:
            UsageError: a size is outside of a range.
        """

        def narrowed(dim: int | Dim) -> int | Dim:
            if isinstance(dim, int) or dim.sizes:
                return dim
            outside = [size for size in sizes if not dim.accepts(size)]
            if outside:
                raise UsageError(f"Bucket {outside[0]} is outside of {self.name!r}'s range {dim}.")
            return Dim.among(dim.name, sizes)

        return replace(self, shape=tuple(map(narrowed, self.shape)))

    @property
    def example_shape(self) -> tuple[int, ...]:
        """A shape to trace with: the smallest size of a range above one, the largest of a list."""
        return tuple(_size_of(dim) for dim in self.shape)

    @property
    def dynamic(self) -> dict[int, Dim]:
        """The dynamic dimensions by axis."""
        return {axis: dim for axis, dim in enumerate(self.shape) if isinstance(dim, Dim)}


def _parse_dim(text: str, name: str, axis: int, whole: str) -> int | Dim:
    found = _DIM.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--input {whole!r}: {text!r} is no dimension.", "Write a number, or a range as 1..8."
        )
    if found["sizes"]:
        sizes = [int(size) for size in found["sizes"].split("|")]
        if min(sizes) < 1 or len(set(sizes)) < 2:
            raise UsageError(
                f"--input {whole!r}: {text!r} is no list of different sizes above zero.",
                "Write e.g. 64|128|256.",
            )
        return Dim.among(found["name"] or dim_name(name, axis), sizes)
    low = int(found["min"])
    if found["range"] is None:
        return low
    high = int(found["max"]) if found["max"] else None
    if low < 1 or (high is not None and high <= low):
        raise UsageError(
            f"--input {whole!r}: the range {text!r} is empty.", "Write the smaller number first."
        )
    return Dim(found["name"] or dim_name(name, axis), low, high)


def dim_name(name: str, axis: int) -> str:
    """Return the name of a dimension that nobody named; all first axes are one batch."""
    return "batch" if axis == 0 else f"{name}_{axis}"


def _size_of(dim: int | Dim) -> int:
    if isinstance(dim, int):
        return dim
    if dim.sizes:
        return dim.sizes[-1]
    return max(2, dim.min)  # torch.export takes a size of one for a constant


def _nearest(dim: int | Dim, size: int) -> int:
    """Return the size within a dimension's range that is nearest to an example's own."""
    if isinstance(dim, int) or dim.sizes:
        return _size_of(dim)
    return min(max(size, _size_of(dim)), dim.max or size + 2)


# -- Example inputs --------------------------------------------------------------------------------


def example_call(
    module: torch.nn.Module,
    given: tuple[Any, ...] | Mapping[str, Any] | Arguments | None,
    specs: tuple[InputSpec, ...],
) -> Call:
    """Return the call to trace: the source's own, as far as `specs` do not overrule it.

    Raises:
        SourceError: there are neither examples nor specs, or an argument is missing.
        UsageError: a spec names an argument that the model does not take.
    """
    twice = {spec.name for spec in specs if [each.name for each in specs].count(spec.name) > 1}
    if twice:
        raise UsageError(f"--input names {min(twice)!r} twice.", "Give each input once.")
    if given is None and not specs:
        raise SourceError(
            "The source brings no example inputs.",
            'Give their shapes, e.g. --input "x:1,3,224,224", '
            "or define example_inputs() in the source file.",
        )
    call = bind(module, given)
    for spec in specs:
        value = _example(spec, call.leaves.get(spec.name), module)
        if spec.name in call.leaves:
            call = call.with_leaves({spec.name: value})
        else:
            call = bind(module, added(module, call, spec.name, value))
    complete(module, call)
    return call


def _example(spec: InputSpec, known: Any, module: torch.nn.Module) -> torch.Tensor:
    """Return the source's own example, repeated or cut to the spec, else seeded random values."""
    import torch

    shape = spec.example_shape
    if math.prod(shape) * 4 > _memory() / 4:  # export and verification hold several of them
        raise UsageError(
            f"--input {spec.name}: a tensor of shape {list(shape)} does not fit into memory.",
            "Give smaller dimensions.",
        )
    if isinstance(known, torch.Tensor):
        if known.dim() == len(shape):
            shape = tuple(map(_nearest, spec.shape, known.shape))
        like = fitted(known, shape)
        if like is not None:
            return like if spec.dtype is None else like.to(getattr(torch, spec.dtype.value))
    dtype = spec.dtype or (dtype_of(known) if isinstance(known, torch.Tensor) else DType.FLOAT32)
    if "mask" in spec.name:  # a random mask may leave nothing of a row
        return torch.ones(shape, dtype=getattr(torch, dtype.value))
    sizes = [m.num_embeddings for m in module.modules() if isinstance(m, torch.nn.Embedding)]
    return random_tensor(shape, dtype, below=min(sizes, default=2))


def _memory() -> float:
    """Return the bytes of this machine's memory; infinity where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def random_tensor(shape: tuple[int, ...], dtype: DType, below: int = 2) -> torch.Tensor:
    """Return seeded values: standard normal, or integers from 0 up to and without `below`."""
    import torch

    kind = getattr(torch, dtype.value)
    generator = torch.Generator().manual_seed(SEED)
    if kind.is_floating_point or kind.is_complex:
        return torch.randn(shape, generator=generator).to(kind)
    highest = 2 if kind is torch.bool else min(max(2, below), torch.iinfo(kind).max)
    return torch.randint(0, highest, shape, generator=generator).to(kind)


def fitted(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor | None:
    """Repeat or cut a tensor along its axes to `shape`; None where the rank or a zero forbids."""
    import torch

    if tensor.dim() != len(shape) or (0 in tensor.shape and tuple(tensor.shape) != shape):
        return None
    for axis, (have, want) in enumerate(zip(tensor.shape, shape, strict=True)):
        if have != want:
            tensor = tensor.index_select(axis, torch.arange(want) % have)
    return tensor


def vary(example: Arrays, count: int = 2) -> tuple[Arrays, ...]:
    """Return the example and `count` seeded variations of it, plausible for the same model.

    Floating-point values get noise of half their spread and stay within the example's range;
    integers and booleans are drawn from the example's own values, which keeps token ids valid.
    A mask of ones ends in zeros, as that of a padded sequence does.
    """
    generator = np.random.default_rng(SEED)
    return (
        example,
        *(
            {name: _varied(name, array, generator) for name, array in example.items()}
            for _ in range(count)
        ),
    )


def _varied(name: str, array: Array, generator: np.random.Generator) -> Array:
    if not array.size:
        return array
    if "mask" in name and array.ndim and (array == 1).all():
        length = array.shape[-1]
        return np.asarray(array * (np.arange(length) < generator.integers(1, max(2, length))))
    if array.dtype.kind != "f":
        drawn = generator.choice(array.reshape(-1), array.shape)
        return np.asarray(drawn, array.dtype)
    finite = array[np.isfinite(array)].astype(np.float64)
    if not finite.size:
        return array
    noise = generator.standard_normal(array.shape) * (finite.std() or 1.0) / 2
    low, high = finite.min(), finite.max()
    if low == high:
        return np.asarray(array + noise, array.dtype)
    moved = array + noise
    moved = np.where(moved > high, 2 * high - moved, moved)  # not cut off, which would make ties
    moved = np.where(moved < low, 2 * low - moved, moved)
    return np.asarray(np.clip(moved, low, high), array.dtype)


def read_samples(path: Path) -> list[Arrays]:
    """Read the arrays of an ``.npz`` file, or of each ``.npz`` file in a folder.

    Raises:
        UsageError: there is nothing to read.
    """
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise UsageError(f"There is no input data at {path}.", "Give an .npz file or a folder.")
    stored = []
    for file in files:
        try:
            with file.open("rb") as content, np.load(content) as arrays:
                stored.append({key: arrays[key] for key in arrays.files})
        except _UNREADABLE as error:
            raise UsageError(
                f"{file} is not an .npz file{_why(error)}.",
                "Write it with numpy.savez(path, name=array).",
            ) from error
    return stored


def read_array(path: Path) -> Array:
    """Read an ``.npy`` file.

    Raises:
        UsageError: it is none.
    """
    try:
        return np.asarray(np.load(path))
    except _UNREADABLE as error:
        raise UsageError(
            f"{path} is not an .npy file{_why(error)}.", "Write it with numpy.save(path, array)."
        ) from error


_UNREADABLE = (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile)


def _why(error: Exception) -> str:
    """Say what numpy says; it takes what it does not know for pickled objects."""
    said = str(error).rstrip(".")
    return " of arrays" if "pickle" in said else f": {said}"


def split_samples(stored: list[Arrays], example: Arrays) -> tuple[Arrays, ...]:
    """Cut stored arrays into input sets of the example's shapes.

    An array fits as it is, or holds several samples: stacked along a new first axis, or along the
    batch axis.

    Raises:
        UsageError: an input is missing, an array does not fit, or the counts differ.
    """
    return tuple(
        dict(zip(example, sample, strict=True))
        for arrays in stored
        for sample in _cut(arrays, example)
    )


def _cut(arrays: Arrays, example: Arrays) -> list[tuple[Array, ...]]:
    missing = [name for name in example if name not in arrays]
    if missing:
        raise UsageError(
            f"The input data holds no array named {missing[0]!r}, only {', '.join(arrays)}.",
            f"It must hold one array per input: {', '.join(example)}.",
        )
    columns = {name: _pieces(arrays[name], like, name) for name, like in example.items()}
    counts = {name: len(pieces) for name, pieces in columns.items()}
    if len(set(counts.values())) > 1:
        raise UsageError(
            "The input data holds different numbers of samples: "
            + ", ".join(f"{name} {count}" for name, count in counts.items())
            + "."
        )
    return list(zip(*columns.values(), strict=True))


def _pieces(array: Array, like: Array, name: str) -> list[Array]:
    if array.dtype.kind != like.dtype.kind and not np.can_cast(
        array.dtype, like.dtype, "same_kind"
    ):
        raise UsageError(
            f"The input data for {name!r} is {array.dtype.name}; the model takes {like.dtype.name}."
        )
    array = array.astype(like.dtype)
    if array.shape[:1] == (0,) and array.shape != like.shape:
        raise UsageError(
            f"The input data for {name!r} holds no sample: its shape is {list(array.shape)}."
        )
    if array.shape == like.shape:
        return [array]
    if array.shape[1:] == like.shape:
        return list(array)
    batch = like.shape[0] if like.ndim else 0
    if batch and array.shape[1:] == like.shape[1:] and array.shape[0] % batch == 0:
        return np.split(array, array.shape[0] // batch)
    raise UsageError(
        f"The input data for {name!r} has shape {list(array.shape)}.",
        f"The model takes {list(like.shape)}, or several of these stacked along the first axis.",
    )
