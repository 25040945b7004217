"""Runtimes: what executes an artifact.  One module each; this page is their contract.

A runtime module holds::

    FORMATS: tuple[str, ...]     # names of the formats that it executes
    RANK: int                    # the lowest available of a format's runtimes is its default
    NOTE: str | None             # what a reader of its numbers must know, or None
    def unavailable() -> UnavailableError | None    # why it cannot run here, and the way out
    def version() -> str                            # of the engine, as "name x.y.z"
    def load(path: Path, *, threads: int) -> Engine

A module of which only the values count, not the times, says ``REFERENCE = True``.

`open_session` wraps the module's `Engine` into a `Session`, which does all checking once, for every
runtime: an engine only ever sees complete feeds of the right names, dtypes and shapes.

An engine may offer more than `Engine` asks for.  One that rounds, and could do without::

    def explain(feeds: Arrays, tolerance_db: float | None) -> Explanation | None

One that can show what lies between inputs and outputs lists the names to `watch`: the tensors that
the model computes from its inputs, in the order of computation, outputs included::

    def intermediates() -> tuple[str, ...]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from edgekit import registry
from edgekit.errors import UnavailableError, UsageError
from edgekit.tensors import DType, Signature, TensorSpec

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Explanation:
    """What an engine says of the rounding in its results.

    Attributes:
        outputs: What it gives without rounding, by name.
        value: Name of the first value that rounding spoils; empty when none was found or sought.
        loss: What rounding does to it, in words: ``overflows float16 at op 'exp_0' (exp)``.
    """

    outputs: Arrays
    value: str = ""
    loss: str = ""


class Engine(Protocol):
    """A loaded model, as a runtime plugin returns it from ``load``."""

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the model file itself declares them."""
        ...

    def infer(self, feeds: Arrays, watch: Sequence[str]) -> Arrays:
        """Run once: checked `feeds` by input name to outputs, and watched values, by name.

        Outputs are the caller's own: a later call must not change them.
        """
        ...

    def close(self) -> None:
        """Free the model; called once."""
        ...


class Runtime(Protocol):
    """A runtime module; see the page above."""

    FORMATS: tuple[str, ...]
    RANK: int
    NOTE: str | None

    def unavailable(self) -> UnavailableError | None:
        """Return why the runtime cannot run here, with the way out as hint; None when it can."""
        ...

    def version(self) -> str:
        """Return the engine's name and version."""
        ...

    def load(self, path: Path, *, threads: int) -> Engine:
        """Open a model file."""
        ...


class Session:
    """A model opened in a runtime, ready to run; a context manager."""

    def __init__(self, engine: Engine, runtime: str, note: str | None = None) -> None:
        self.runtime = runtime
        self.note = note
        self._engine: Engine | None = engine
        self._signature = engine.signature

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the opened model."""
        return self._signature

    def run(self, feeds: Mapping[str, npt.ArrayLike], watch: Sequence[str] = ()) -> Arrays:
        """Run the model once.

        Args:
            feeds: One array per input, by name.  Integer inputs may be given in any integer type
                whose values fit; floating-point ones in any floating-point type.
            watch: Names of intermediate values to return beside the outputs, where the runtime can.

        Returns:
            Outputs by name, as fresh arrays.

        Raises:
            UsageError: an input is missing, unknown, of the wrong kind or of the wrong shape.
        """
        return self._opened().infer(self._checked(feeds), watch)

    def explain(
        self, feeds: Mapping[str, npt.ArrayLike], tolerance_db: float | None = None
    ) -> Explanation | None:
        """Tell rounding apart from everything else, where the engine can; None where it cannot.

        Args:
            feeds: As for `run`.
            tolerance_db: Also look for the first value whose SQNR against the unrounded one is
                lower than this; None to look for none.
        """
        hook = getattr(self._opened(), "explain", None)
        if hook is None:
            return None
        found: Explanation | None = hook(self._checked(feeds), tolerance_db)
        return found

    def intermediates(self) -> tuple[str, ...] | None:
        """Return the names that `run` can watch, in the order of computation; None: it cannot."""
        hook = getattr(self._opened(), "intermediates", None)
        if hook is None:
            return None
        names: tuple[str, ...] = hook()
        return names

    def _opened(self) -> Engine:
        if self._engine is None:
            raise UsageError("This session is closed.", "Open the artifact again.")
        return self._engine

    def _checked(self, feeds: Mapping[str, npt.ArrayLike]) -> Arrays:
        """Return the feeds as the engine takes them."""
        specs = self._signature.inputs
        unknown = sorted(set(feeds) - {spec.name for spec in specs})
        missing = [spec.name for spec in specs if spec.name not in feeds]
        if unknown or missing:
            raise UsageError(
                "The inputs do not fit the model: "
                + "; ".join(
                    part
                    for part in (
                        missing and f"missing {', '.join(missing)}",
                        unknown and f"unknown {', '.join(unknown)}",
                    )
                    if part
                )
                + ".",
                f"The model takes {', '.join(map(str, specs)) or 'no inputs'}.",
            )
        return {spec.name: fit(np.asarray(feeds[spec.name]), spec) for spec in specs}

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def fit(array: Array, spec: TensorSpec) -> Array:
    """Return `array` as the contiguous array that `spec` asks for.

    Raises:
        UsageError: its shape does not fit, or a value would change in the conversion of its type.
    """
    if spec.shape == (1,) and not array.ndim:
        array = array.reshape(1)  # what a format without scalars made of one
    if not spec.accepts(array.shape):
        raise UsageError(
            f"Input {spec.name!r} has shape {list(array.shape)}.", f"The model takes {spec}."
        )
    if DType.of(array) is spec.dtype:
        return np.ascontiguousarray(array).reshape(array.shape)
    wanted = spec.dtype.numpy()
    integers = array.dtype.kind in "iub" and wanted.kind in "iu"
    floats = array.dtype.kind == "f" and wanted.kind == "f"
    if not (integers or floats):
        raise UsageError(f"Input {spec.name!r} is {array.dtype.name}.", f"The model takes {spec}.")
    if integers and array.size:
        low, high = int(array.min()), int(array.max())
        bounds = np.iinfo(wanted)
        if low < bounds.min or high > bounds.max:
            raise UsageError(
                f"Input {spec.name!r} holds values from {low} to {high}, "
                f"which {spec.dtype.value} cannot.",
                f"The model takes {spec}.",
            )
    return np.ascontiguousarray(array.astype(wanted)).reshape(array.shape)


def describe(name: str) -> str:
    """Return a runtime's engine and version, e.g. ``onnxruntime 1.31.1``."""
    described: str = registry.load("runtimes", name).version()
    return described


def available(format_name: str) -> list[str]:
    """Return the runtimes that execute a format on this machine, the default first."""
    ranked = sorted(
        (module.RANK, name)
        for name, module in registry.load_all("runtimes").items()
        if format_name in module.FORMATS and module.unavailable() is None
    )
    return [name for _, name in ranked]


def choose(format_name: str, runtime: str | None = None) -> str:
    """Return the name of `runtime`, or of the best one available for a format.

    Raises:
        UnavailableError: no runtime here executes the format, or the one asked for cannot run.
        UsageError: the runtime asked for does not execute this format.
    """
    if runtime is None:
        candidates = available(format_name)
        if not candidates:
            raise _none_available(format_name)
        return candidates[0]
    module = registry.load("runtimes", runtime)
    name: str = module.__name__.rpartition(".")[2]
    if format_name not in module.FORMATS:
        raise UsageError(
            f"Runtime {name!r} executes {', '.join(module.FORMATS)}, not {format_name}."
        )
    reason = module.unavailable()
    if reason is not None:
        raise reason
    return name


def open_session(
    path: Path, format_name: str, *, runtime: str | None = None, threads: int = 1
) -> Session:
    """Open a model file in `runtime`, or in the best one available for its format.

    Raises:
        UnavailableError: no runtime here executes the format, or the one asked for cannot run.
        UsageError: the runtime asked for does not execute this format.
    """
    name = choose(format_name, runtime)
    module = registry.load("runtimes", name)
    return Session(module.load(path, threads=threads), name, module.NOTE)


def _none_available(format_name: str) -> UnavailableError:
    reasons = [
        reason
        for module in registry.load_all("runtimes").values()
        if format_name in module.FORMATS and (reason := module.unavailable()) is not None
    ]
    message = f"No runtime on this machine executes {format_name}"
    detail = "; ".join(reason.message.rstrip(".") for reason in reasons)
    hints = [reason.hint for reason in reasons if reason.hint]
    return UnavailableError(
        f"{message}: {detail}." if detail else f"{message}.", hints[0] if hints else None
    )
