"""Formats: what a program is lowered to.  One module each; this page is their contract.

A format module holds::

    SUFFIXES: tuple[str, ...]        # of its files, the usual one first
    COST: int                        # rough relative conversion time: the longest starts first
    MAX_BYTES: int | None            # the largest file that the format can be
    OPTIONS: tuple[Option, ...]      # what `edgekit convert` offers for it alone
    def unavailable() -> UnavailableError | None   # why it cannot convert here
    def toolchain() -> dict[str, str]              # package -> version, all that shape the result
    def supports(recipe: Recipe) -> str | None     # why it cannot make a recipe, or None
    def warm_up() -> None                          # import what `lower` will need
    def lower(program, recipe, options, destination) -> Signature
    def summarize(path: Path) -> ModelSummary      # for `edgekit inspect`, without heavy imports

`lower` runs in a worker of its own.  It writes the file `destination` (or files whose names begin
with that name) and returns the signature that the file has: the program's names and order, with the
format's element types.

A format may offer more::

    def accepts(operator) -> bool    # whether its converter takes an ATen overload
    PACE: dict[str, float]           # rough time of a layer over its time in float32, by the names
                                     # of `edgekit.quantize.fit.ladder`
    def integers_only(options) -> bool   # whether options ask for a file without float operators
    REPRODUCE: str                   # of a script without edgekit: from `program` and `inputs` (by
                                     # name) to `outputs` (by name) in the vendor's own packages;
                                     # $precision stands for FLOAT32 or FLOAT16
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from edgekit import registry
from edgekit.errors import ArtifactError, UnavailableError, UsageError
from edgekit.program import Program
from edgekit.recipe import Precision, Recipe
from edgekit.tensors import DType, Signature, TensorSpec
from edgekit.wire import ModelSummary

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Option:
    """An option of one format: becomes ``--name`` of ``edgekit convert`` and a key of `Options`."""

    name: str
    help: str
    default: Any = None
    choices: tuple[Any, ...] = ()


class Format(Protocol):
    """A format module; see the page above."""

    SUFFIXES: tuple[str, ...]
    COST: int
    MAX_BYTES: int | None
    OPTIONS: tuple[Option, ...]

    def unavailable(self) -> UnavailableError | None:
        """Return why the format cannot be converted to here, with the way out as hint."""
        ...

    def toolchain(self) -> dict[str, str]:
        """Return the version of every package that shapes the result."""
        ...

    def supports(self, recipe: Recipe) -> str | None:
        """Return why the format cannot make a recipe, or None when it can."""
        ...

    def warm_up(self) -> None:
        """Import what `lower` needs."""
        ...

    def lower(
        self, program: Program, recipe: Recipe, options: Options, destination: Path
    ) -> Signature:
        """Write the artifact and return its signature."""
        ...

    def summarize(self, path: Path) -> ModelSummary:
        """Read what a file holds."""
        ...


def of_path(path: Path) -> str:
    """Return the name of the format that a file's suffix says.

    Raises:
        ArtifactError: nothing is there, or no format has that suffix.
    """
    by_suffix = {
        suffix: name
        for name, module in registry.load_all("formats").items()
        for suffix in module.SUFFIXES
    }
    found = by_suffix.get(path.suffix)
    if found is None:
        raise ArtifactError(
            f"{path} is not an artifact of a known format.",
            f"Known files: {', '.join(sorted(by_suffix))}.",
        )
    if not path.exists():
        raise ArtifactError(f"There is no file {path}.", "Check the path of the artifact.")
    return found


def missing(packages: Iterable[str], what: str, extra: str) -> UnavailableError | None:
    """Return the error that says which of `packages` (import names) are not installed."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return UnavailableError(
        f"{what} needs {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} "
        "not installed.",
        f"pip install 'edgekit[{extra}]'",
    )


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each distribution."""
    return {name: importlib.metadata.version(name) for name in packages}


def unmade(recipe: Recipe, reason: Callable[[Precision], str | None]) -> str | None:
    """Return the first reason against a precision that the recipe asks for; None without one."""
    return next(filter(None, map(reason, recipe.precisions)), None)


def options_for(name: str, given: Options) -> dict[str, Any]:
    """Return the options of one format, defaults filled in and values checked.

    Raises:
        UsageError: a value is not among an option's choices.
    """
    chosen = {}
    for option in registry.load("formats", name).OPTIONS:
        value = given.get(option.name)
        value = option.default if value is None else value
        if option.choices and value is not None and value not in option.choices:
            raise UsageError(
                f"--{option.name} {value} is not possible.",
                f"Choose one of {', '.join(map(str, option.choices))}.",
            )
        chosen[option.name] = value
    return chosen


def mapped(
    signature: Signature,
    dtypes: Mapping[DType, DType],
    input_change: Callable[[TensorSpec], TensorSpec] | None = None,
) -> Signature:
    """Return a signature with element types replaced as `dtypes` says, the source's kept on record.

    `input_change`, where given, has the last word on each input.
    """

    def change(spec: TensorSpec) -> TensorSpec:
        dtype = dtypes.get(spec.dtype, spec.dtype)
        if dtype is spec.dtype:
            return spec
        return replace(spec, dtype=dtype, source_dtype=spec.dtype)

    inputs = tuple(map(change, signature.inputs))
    if input_change is not None:
        inputs = tuple(map(input_change, inputs))
    return Signature(inputs, tuple(map(change, signature.outputs)))
