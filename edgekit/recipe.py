"""Recipes: what precision an artifact is made in, and how close to the source it must stay.

A recipe is one TOML file in ``edgekit/recipes``; its name is its file's name.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.errors import UnknownNameError, UsageError

FOLDER = Path(__file__).parent / "recipes"

# Names that the field uses and that this version does not make yet.
_PLANNED = (
    "dynamic_wi8_afp32",
    "weight_only_wi8_afp32",
    "weight_only_wi4_afp32",
    "static_wi8_ai16",
)
_PLANNED_ALIASES = {
    "w8a16": "static_wi8_ai16",
    "int4": "weight_only_wi4_afp32",
    "w8a32": "dynamic_wi8_afp32",
}


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact's outputs may be from the source model's, per output and sample.

    Attributes:
        sqnr_db: Lowest signal-to-error power ratio, in dB.
        cosine: Lowest cosine similarity.
        max_abs_of_peak: Highest absolute error, as a share of the reference's largest magnitude.
        integer_agreement: Lowest share of equal elements of an integer or boolean output.
    """

    sqnr_db: float
    cosine: float
    max_abs_of_peak: float
    integer_agreement: float


@dataclass(frozen=True)
class Calibration:
    """How a static recipe finds the ranges of values.

    Attributes:
        method: ``min_max``: the whole range that calibration saw; ``moving_average``: of the
            minima and maxima of single samples; ``mse``: the range that minimizes the squared error
            of quantization, which cuts outliers off.
    """

    method: str


@dataclass(frozen=True)
class Recipe:
    """One precision recipe.

    Attributes:
        name: As in the file name, e.g. ``fp16``.
        description: One sentence for people.
        aliases: Other names for it.
        weights: Element type that weights are stored in.
        activations: Element type that the artifact computes in.
        tolerance: Bounds that conversion holds the artifact to: against the source model or, where
            the recipe quantizes, against the quantized graph.
        calibration: How ranges are found, for a recipe that needs calibration data.
        source_tolerance: Bounds against the source model, where they are not `tolerance`.
    """

    name: str
    description: str
    aliases: tuple[str, ...]
    weights: str
    activations: str
    tolerance: Tolerance
    calibration: Calibration | None = None
    source_tolerance: Tolerance | None = None

    @property
    def is_static(self) -> bool:
        """Whether it quantizes activations by ranges found beforehand on calibration data."""
        return self.calibration is not None

    @property
    def tolerance_to_source(self) -> Tolerance:
        """Bounds against the source model itself."""
        return self.source_tolerance or self.tolerance

    def bytes_for(self, parameters: int) -> int:
        """Return how many bytes that many weights take in this recipe."""
        return parameters * _BYTES[self.weights]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Recipe:
        """Return the recipe that `to_json` described."""
        given = {name: data[name] for name in _TABLES if data.get(name) is not None}
        tables = {name: _TABLES[name](**table) for name, table in given.items()}
        return Recipe(**{**data, "aliases": tuple(data["aliases"]), **tables})


@cache
def recipes() -> dict[str, Recipe]:
    """Return all recipes by name."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.toml"))}


def load_recipe(name: str | Path | Recipe) -> Recipe:
    """Return the recipe that `name` means.

    Args:
        name: Its name or an alias, case and hyphens ignored; or the path of a ``.toml`` file.

    Raises:
        UsageError: no such recipe, one that this version does not make yet, or a mistake in a file.
    """
    if isinstance(name, Recipe):
        return name
    if isinstance(name, Path) or name.endswith(".toml"):
        return _read(Path(name))
    by_alias = {alias: recipe.name for recipe in recipes().values() for alias in recipe.aliases}
    known = {name: name for name in (*recipes(), *_PLANNED)} | by_alias | _PLANNED_ALIASES
    found = known[registry.match(name, known, "recipe")]
    if found in _PLANNED:
        raise UsageError(
            f"Recipe {found!r} is not made by this version of edgekit: quantization is to come.",
            f"Available now: {', '.join(recipes())}.",
        )
    return recipes()[found]


def _read(path: Path) -> Recipe:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no readable TOML file: {error}.") from error
    tables = {"tolerance": data.pop("tolerance", {})}
    tables |= {name: data.pop(name) for name in _TABLES if name in data}
    _check(path, data, _KEYS)
    for name, table in tables.items():
        keys = [field.name for field in fields(_TABLES[name])]
        kind = _method if name == "calibration" else _number
        _check(path, table, dict.fromkeys(keys, kind), name)
    return Recipe.from_json({"name": path.stem, **data, **tables})


def _check(
    path: Path, table: Any, keys: Mapping[str, Callable[[Any], str]], name: str = "the file"
) -> None:
    """Raise the first thing that is wrong with a table: a key too many, too few, or its value."""
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name} is {table!r}, not a table.")
    for key in (*table, *keys):
        if key not in keys:
            raise UnknownNameError(f"{path}: unknown key {key}.", f"Known: {', '.join(keys)}.")
        wanted = "given" if key not in table else keys[key](table[key])
        if wanted:
            raise UsageError(f"{path}: {key} must be {wanted}.")


def _number(value: Any) -> str:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return "" if fine else "a finite number"


def _method(value: Any) -> str:
    return "" if value in METHODS else f"one of {', '.join(METHODS)}"


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "a text"


def _texts(value: Any) -> str:
    return "" if isinstance(value, list) and not any(map(_text, value)) else "a list of texts"


def _element_type(value: Any) -> str:
    return "" if value in list(_BYTES) else f"one of {', '.join(_BYTES)}"


METHODS = ("min_max", "moving_average", "mse")
_TABLES: dict[str, Any] = {
    "tolerance": Tolerance,
    "calibration": Calibration,
    "source_tolerance": Tolerance,
}
_BYTES = {"float32": 4, "float16": 2, "int8": 1}
_KEYS = {
    "description": _text,
    "aliases": _texts,
    "weights": _element_type,
    "activations": _element_type,
}
