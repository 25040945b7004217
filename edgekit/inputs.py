"""The inputs of one call: parsed from the command line, taken from the source, bound to names."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import SourceError, UsageError
from edgekit.runtimes import Array, Arrays
from edgekit.source import SEED
from edgekit.tensors import Dim, DType, Shape

if TYPE_CHECKING:
    import torch

_DIM = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<min>\d+)(?:(?P<range>\.\.)(?P<max>\d*))?")


@dataclass(frozen=True)
class InputSpec:
    """One input as the user describes it: ``name:dims[:dtype]``, e.g. ``image:1..8,3,224,224``.

    A dimension is a number, or a range ``min..max`` (``max`` may be left out) that makes it
    dynamic; ``batch=1..8`` names it, and equal names mean equal sizes.
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
        try:
            dtype = DType(rest[1].strip()) if len(rest) == 2 else None
        except ValueError:
            raise UsageError(
                f"--input {text!r} names no element type: {rest[1]!r}.", hint
            ) from None
        return InputSpec(name, shape, dtype)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """A shape to trace with: a dynamic dimension takes its smallest size above one."""
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
    low = int(found["min"])
    if found["range"] is None:
        return low
    high = int(found["max"]) if found["max"] else None
    if low < 1 or (high is not None and high <= low):
        raise UsageError(
            f"--input {whole!r}: the range {text!r} is empty.", "Write the smaller number first."
        )
    return Dim(found["name"] or ("batch" if axis == 0 else f"{name}_{axis}"), low, high)


def _size_of(dim: int | Dim) -> int:
    if isinstance(dim, int):
        return dim
    return max(2, dim.min)  # torch.export takes a size of one for a constant


# -- Example inputs --------------------------------------------------------------------------------


def example_inputs(
    module: torch.nn.Module,
    given: tuple[Any, ...] | Mapping[str, Any] | None,
    specs: tuple[InputSpec, ...],
) -> tuple[Any, ...] | dict[str, Any]:
    """Return the arguments to trace with: the source's own, as far as `specs` do not overrule them.

    Raises:
        SourceError: there are neither examples nor specs.
        UsageError: a spec names an argument that the model does not take.
    """
    arguments = argument_names(module)
    unknown = [spec.name for spec in specs if arguments and spec.name not in arguments]
    if unknown:
        raise UsageError(
            f"The model takes no input named {unknown[0]!r}.",
            f"Its forward() takes {', '.join(arguments)}.",
        )
    if given is None and not specs:
        raise SourceError(
            "The source brings no example inputs.",
            'Give their shapes, e.g. --input "x:1,3,224,224", '
            "or define example_inputs() in the source file.",
        )
    if not specs:
        assert given is not None
        return dict(given) if isinstance(given, Mapping) else given
    known = dict(given) if isinstance(given, Mapping) else dict(zip(arguments, given or ()))  # noqa: B905
    made = {spec.name: _example(spec, known.get(spec.name), module) for spec in specs}
    order = [*arguments, *(name for name in {**known, **made} if name not in arguments)]
    merged = known | made
    return {name: merged[name] for name in order if name in merged}


def argument_names(module: torch.nn.Module) -> list[str]:
    """Return the names that a module's forward takes, in order, without ``*`` and ``**`` ones."""
    import inspect

    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    signature = inspect.signature(module.forward)
    return [name for name, each in signature.parameters.items() if each.kind not in variadic]


def _example(spec: InputSpec, known: Any, module: torch.nn.Module) -> torch.Tensor:
    """Return the source's own example where it fits the spec, else seeded random values."""
    import torch

    shape = spec.example_shape
    if isinstance(known, torch.Tensor):
        tiled = _tiled(known, shape)
        if tiled is not None and spec.dtype in (None, DType(str(known.dtype).partition(".")[2])):
            return tiled
    dtype = spec.dtype or (
        DType(str(known.dtype).partition(".")[2])
        if isinstance(known, torch.Tensor)
        else DType.FLOAT32
    )
    generator = torch.Generator().manual_seed(SEED)
    if dtype.is_float:
        return torch.randn(shape, generator=generator).to(getattr(torch, dtype.value))
    high = min(
        (each.num_embeddings for each in module.modules() if isinstance(each, torch.nn.Embedding)),
        default=2,
    )
    drawn = torch.randint(0, max(2, high), shape, generator=generator)
    return drawn.to(getattr(torch, dtype.value)) if dtype is not DType.BOOL else drawn % 2 == 1


def _tiled(example: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor | None:
    """Repeat an example along its axes to `shape`, or return None where it does not divide it."""
    if example.dim() != len(shape) or any(
        have == 0 or want % have for have, want in zip(example.shape, shape, strict=True)
    ):
        return None
    return example.repeat([want // have for have, want in zip(example.shape, shape, strict=True)])


def vary(example: Arrays, count: int = 2) -> tuple[Arrays, ...]:
    """Return the example and `count` seeded variations of it, plausible for the same model.

    Floating-point values get noise of half their spread and stay within the example's range;
    integers and booleans are drawn from the example's own values, which keeps token ids valid.
    """
    generator = np.random.default_rng(SEED)
    return (
        example,
        *(
            {name: _varied(array, generator) for name, array in example.items()}
            for _ in range(count)
        ),
    )


def _varied(array: Array, generator: np.random.Generator) -> Array:
    if not array.size:
        return array
    if array.dtype.kind != "f":
        return generator.choice(array.reshape(-1), array.shape).astype(array.dtype)
    finite = array[np.isfinite(array)]
    if not finite.size:
        return array
    noise = generator.standard_normal(array.shape) * (finite.std() or 1.0) / 2
    if finite.min() == finite.max():
        return (array + noise).astype(array.dtype)
    return np.clip(array + noise, finite.min(), finite.max()).astype(array.dtype)


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
            with np.load(file) as arrays:
                stored.append({key: arrays[key] for key in arrays.files})
        except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
            raise UsageError(
                f"{file} is not an .npz file: {error}.",
                "Write it with numpy.savez(path, name=array).",
            ) from error
    return stored


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
