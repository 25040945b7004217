"""edgekit's reference runtime for Core ML ML Programs, on any system; see `edgekit.mil`.

By default it computes as Core ML documents its float16 backends (``precision="exact"``: every
float16 result is rounded, sums are accumulated in float32).  ``load(path, threads=1,
precision="float32")`` never rounds, and presents float16 inputs and outputs as float32: what is
left of the error is the conversion's.

Inputs and outputs bear the names, types and shapes of the model's description, with these rules:

- Image inputs take uint8 arrays of the program's own shape, (1, channels, height, width), channels
  in the order of the declared colour space (RGB or BGR; grayscale has one; 16-bit grayscale is
  float16).  Scale and bias are operations of the program.  Image outputs are rounded and clamped to
  0..255; how Core ML itself rounds them is not documented.
- A classifier gives its label, and its probabilities as an array in the order of the classes.
- States start from zeros and last as long as the session; `MilEngine.reset_state` clears them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.errors import ArtifactError, UnavailableError, UsageError
from edgekit.runtimes import Array, Arrays
from edgekit.tensors import Dim, DType, Shape, Signature, TensorSpec
from edgekit.wire.mlprogram import (
    DictionaryType,
    Feature,
    Function,
    ModelFile,
    TensorType,
    ValueType,
    read_model,
)

if TYPE_CHECKING:
    from edgekit.mil.divergence import Divergence

FORMATS = ("coreml",)
RANK = 50
NOTE: str | None = (
    "Computed by edgekit's reference runtime for ML Programs, not by Core ML itself: "
    "values can be compared, times cannot."
)


def unavailable() -> UnavailableError | None:
    """Return why the runtime cannot run here: without torch it has no kernels."""
    if importlib.util.find_spec("torch") is None:
        return UnavailableError(
            "The Core ML reference runtime computes with PyTorch, which is not installed.",
            "pip install 'edgekit[convert]'",
        )
    return None


def version() -> str:
    """Return edgekit's version and that of PyTorch, whose kernels it computes with."""
    versions = (importlib.metadata.version(name) for name in ("edgekit", "torch"))
    return "edgekit-mil {} (torch {})".format(*versions)


def load(
    path: Path, *, threads: int, precision: Literal["exact", "float32"] = "exact"
) -> MilEngine:
    """Open an ML Program.

    Raises:
        ArtifactError: the file is no ML Program, or is damaged.
        UnavailableError: the program uses an operation that the runtime lacks.
    """
    model = read_model(path)
    if model.program is None:
        raise UnavailableError(
            f"{path.name} is a Core ML {model.kind}; the reference runtime executes ML Programs.",
            "Convert the model as an ML Program (iOS15 or later), or open it on macOS.",
        )
    return MilEngine(model, threads, precision)


class MilEngine:
    """A loaded ML Program: the default function of its model."""

    def __init__(
        self, model: ModelFile, threads: int, precision: Literal["exact", "float32"]
    ) -> None:
        from edgekit.mil.interpreter import Interpreter

        assert model.program is not None
        self._program = model.program
        self._name = model.default_function
        self._interface = model.interface
        self._threads = threads
        self._interpreter = Interpreter(model.program, self._name, precision)
        self._signature = _signature(model, widen=precision == "float32")
        self._state = self._interpreter.new_state()

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the model's description declares them."""
        return self._signature

    def infer(self, feeds: Arrays, watch: Sequence[str]) -> Arrays:
        """Run once; watched values come as the interpreter carries them (float16 as float32)."""
        self._check_choices(feeds)
        with _torch_threads(self._threads):
            values = self._interpreter.run(self._tensors(feeds), watch, self._state)
        named = {spec.name: spec for spec in self._signature.outputs}
        return {name: _array(value, named.get(name)) for name, value in values.items()}

    def first_divergence(self, feeds: Arrays, tolerance_db: float) -> Divergence | None:
        """Return the first operation that float16 brings below `tolerance_db`, or None."""
        from edgekit.mil.divergence import first_divergence

        with _torch_threads(self._threads):
            return first_divergence(self._program, self._tensors(feeds), tolerance_db, self._name)

    def reset_state(self) -> None:
        """Set every state back to zeros."""
        self._state = self._interpreter.new_state()

    def close(self) -> None:
        """Free the model's values; mapped weights go with the last reference."""
        self._state.clear()

    def _tensors(self, feeds: Arrays) -> dict[str, Any]:
        """Return the feeds as tensors; pixels as the numbers that the program computes with."""
        import torch

        images = {found.name for found in self._interface.inputs if found.kind == "image"}
        return {
            name: torch.from_numpy(array.astype(np.float32) if name in images else _own(array))
            for name, array in feeds.items()
        }

    def _check_choices(self, feeds: Arrays) -> None:
        for feature in self._interface.inputs:
            shape = feeds[feature.name].shape
            found = shape[-2:] if feature.kind == "image" else shape
            if feature.choices and found not in feature.choices:
                accepted = ", ".join(str(list(choice)) for choice in feature.choices)
                raise UsageError(
                    f"Input {feature.name!r} has shape {list(shape)}.",
                    f"The model takes one of {accepted}.",
                )


def _signature(model: ModelFile, *, widen: bool) -> Signature:
    assert model.program is not None
    function = model.program.functions[model.default_function]
    types = _types(function)
    found = [
        tuple(_spec(feature, types.get(feature.name), widen=widen) for feature in features)
        for features in (model.interface.inputs, model.interface.outputs)
    ]
    declared = {item.name for item in function.inputs if isinstance(item.type, TensorType)}
    if declared != {spec.name for spec in found[0]} or not (
        {spec.name for spec in found[1]} <= set(function.block.outputs)
    ):
        raise ArtifactError("The model's description and its program name different features.")
    return Signature(*found)


def _types(function: Function) -> dict[str, ValueType]:
    """Return the types of the function's inputs and of its outermost values."""
    found = {item.name: item.type for item in function.inputs}
    for operation in function.block.operations:
        found.update({output.name: output.type for output in operation.outputs})
    return found


def _spec(feature: Feature, kind: ValueType | None, *, widen: bool) -> TensorSpec:
    if isinstance(kind, DictionaryType):
        return TensorSpec(feature.name, DType.FLOAT32, (Dim("classes"),))
    if not isinstance(kind, TensorType):
        raise ArtifactError(f"The model describes {feature.name!r}, which its program lacks.")
    names = {"image": "float16" if feature.color == "grayscale_float16" else "uint8"}
    dtype = names.get(feature.kind) or feature.dtype or kind.dtype
    if widen and dtype == "float16":
        dtype = "float32"
    return TensorSpec(feature.name, DType(dtype), _shape(feature, kind))


def _shape(feature: Feature, kind: TensorType) -> Shape:
    """Return the program's shape, its unknown dimensions bounded as the description says."""
    rank = len(kind.shape)
    bounds: list[tuple[int, int | None]] = [(1, None)] * rank
    if feature.ranges:
        bounds[rank - len(feature.ranges) :] = feature.ranges
    elif feature.choices:
        sides = list(zip(*feature.choices, strict=True))
        bounds[rank - len(sides) :] = [(min(side), max(side)) for side in sides]
    elif feature.shape and feature.kind != "image":
        bounds = [(size, size) for size in feature.shape]
    if len(bounds) != rank:
        raise ArtifactError(f"The model describes {feature.name!r} with another rank than it has.")
    return tuple(
        dim if dim is not None else low if low == high else Dim(f"{feature.name}_{axis}", low, high)
        for axis, (dim, (low, high)) in enumerate(zip(kind.shape, bounds, strict=True))
    )


def _own(array: Array) -> Array:
    """Return an array that torch accepts: it warns of those that cannot be written."""
    return array if array.flags.writeable else array.copy()


def _array(value: Any, spec: TensorSpec | None) -> Array:
    """Return a result as an array of the caller's own, of the type that the border declares."""
    if isinstance(value, str | list):
        return np.array(value, dtype=object)
    array: Array = value.numpy().copy()
    if spec is None or spec.dtype is DType.STRING:
        return array
    if spec.dtype is DType.UINT8 and array.dtype.kind == "f":
        array = np.clip(np.rint(array), 0, 255)
    with np.errstate(over="ignore"):
        return array.astype(spec.dtype.numpy(), copy=False)


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Compute with so many threads, and put torch's own setting back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
