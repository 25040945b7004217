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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.errors import UnavailableError, UsageError
from edgekit.runtimes import Array, Arrays, Explanation
from edgekit.tensors import DType, Signature, TensorSpec
from edgekit.wire.mlprogram import ModelFile, TensorType, read_model

if TYPE_CHECKING:
    from edgekit.mil.divergence import Divergence

FORMATS = ("coreml",)
RANK = 50
REFERENCE = True
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
        self._signature = model.signature
        if precision == "float32":
            self._signature = _widened(self._signature)
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
        wanted = {*named, *watch}
        return {
            name: _array(value, named.get(name)) for name, value in values.items() if name in wanted
        }

    def intermediates(self) -> tuple[str, ...]:
        """List the results of the function's own operations, not those of nested blocks."""
        steps = self._interpreter.code.steps
        results = (output for step in steps for output in step.operation.outputs)
        return tuple(each.name for each in results if isinstance(each.type, TensorType))

    def first_divergence(self, feeds: Arrays, tolerance_db: float) -> Divergence | None:
        """Return the first operation that float16 brings below `tolerance_db`, or None."""
        from edgekit.mil.divergence import first_divergence

        with _torch_threads(self._threads):
            return first_divergence(self._program, self._tensors(feeds), tolerance_db, self._name)

    def explain(self, feeds: Arrays, tolerance_db: float | None) -> Explanation | None:
        """Run without rounding, from zero states; None for a program that never rounds."""
        from edgekit.mil.divergence import computes_in_half
        from edgekit.mil.interpreter import Interpreter

        if not computes_in_half(self._program.functions[self._name]):
            return None
        with _torch_threads(self._threads):
            free = Interpreter(self._program, self._name, "float32")
            values = free.run(self._tensors(feeds))
        specs = {spec.name: spec for spec in _widened(self._signature).outputs}
        outputs = {name: _array(values[name], spec) for name, spec in specs.items()}
        found = None if tolerance_db is None else self.first_divergence(feeds, tolerance_db)
        return Explanation(outputs, found.value, str(found)) if found else Explanation(outputs)

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


def _widened(signature: Signature) -> Signature:
    """Return the signature with float32 in the place of float16."""

    def widen(spec: TensorSpec) -> TensorSpec:
        return replace(spec, dtype=DType.FLOAT32) if spec.dtype is DType.FLOAT16 else spec

    return Signature(tuple(map(widen, signature.inputs)), tuple(map(widen, signature.outputs)))


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
