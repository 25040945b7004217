"""Recipes: what precision an artifact is made in, and how close to the source it must stay.

A recipe is one TOML file in ``edgekit/recipes``; its name is its file's name.  A user's own is
given by its path.  `edgekit.recipefile` reads them.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from edgekit import recipefile, registry
from edgekit.errors import UsageError
from edgekit.recipefile import BITS, BLOCKS

FOLDER = Path(__file__).parent / "recipes"


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

    def within(self, sqnr_db: float, widest: Tolerance) -> Tolerance:
        """Return bounds no stricter than an SQNR, and no wider than `widest`: all in proportion."""
        factor = max(1.0, 10 ** ((self.sqnr_db - sqnr_db) / 20))
        return Tolerance(
            max(self.sqnr_db - 20 * math.log10(factor), widest.sqnr_db),
            max(1 - (1 - self.cosine) * factor**2, widest.cosine),
            min(self.max_abs_of_peak * factor, widest.max_abs_of_peak),
            max(1 - (1 - self.integer_agreement) * factor, widest.integer_agreement),
        )


@dataclass(frozen=True)
class Calibration:
    """How a static recipe finds the ranges of values.

    Attributes:
        method: ``auto``: ``min_max``, ``percentile`` or ``mse``, whichever brings the outputs on
            calibration data nearest to the float model's; ``min_max``: the whole range that
            calibration saw; ``moving_average``: of the minima and maxima of single samples;
            ``percentile``: without the rarest values; ``entropy``: the range that keeps the
            distribution of values closest; ``mse``: the one that minimizes the squared error of
            quantization.  The last three cut outliers off.
        percentile: Share of the values that ``percentile`` keeps, in percent.
        correct_bias: Whether biases take back what rounding adds to a layer on average.
        reduce_range: Whether weights stay so small that no two products add up to more than 16
            bits; None: where a format that is asked for needs it.
        equalize: Whether factors move between weights so that channels reach equally far.
        migration_strength: How much of the difference between channels moves into the weights that
            read them: 0 none of it, 1 all.
        rounding: ``nearest``, or ``adaptive``: up or down, as layers' outputs need it.
    """

    method: str
    percentile: float = 99.99
    correct_bias: bool = True
    reduce_range: bool | None = None
    equalize: bool = False
    migration_strength: float = 0.5
    rounding: str = "nearest"


@dataclass(frozen=True)
class Precision:
    """What one layer is stored and computed in.

    Attributes:
        weights: ``float32``, ``float16``, ``int8``, ``int4``, or indices into a table of 16 or 64
            values: ``lut4``, ``lut6``.
        activations: ``float32``, ``float16``; ``int8``, ``int16``: in ranges found by calibration;
            ``dynamic``: 8-bit integers in ranges found while the model runs.
        granularity: What shares one scale of integer weights: the ``tensor``, an output
            ``channel``, or a ``block_32``, ``block_64`` or ``block_128`` of one.
        sparsity: Share of the weights, the smallest, that become zero.
    """

    weights: str
    activations: str
    granularity: str = "channel"
    sparsity: float = 0.0

    @property
    def has_integer_weights(self) -> bool:
        """Whether weights are integers with scales."""
        return self.weights in {"int8", "int4"}

    @property
    def is_static(self) -> bool:
        """Whether activations are integers in ranges that calibration found."""
        return self.activations in {"int8", "int16"}

    @property
    def block_size(self) -> int | None:
        """How many weights share a scale; None where a channel or a tensor does."""
        return BLOCKS[self.granularity]

    @property
    def contradiction(self) -> str | None:
        """What makes no sense of it in any format; None where it does."""
        if self.is_static and (self.weights, self.granularity) != ("int8", "channel"):
            return f"activations {self.activations} go with weights int8, one scale per channel"
        if self.activations == "dynamic" and not self.has_integer_weights:
            return "activations dynamic go with weights int8 or int4"
        if self.sparsity and self.weights not in {"float32", "float16"}:
            return "sparsity goes with weights float32 or float16"
        return None

    @property
    def changes_weights_only(self) -> bool:
        """Whether weights take another form in the graph while activations stay float in it."""
        other = self.weights not in {"float32", "float16"} or self.sparsity > 0
        return other and not self.is_static


@dataclass(frozen=True)
class Override:
    """Other precision for some layers; what is None stays as it is.

    Attributes:
        layer: Regular expression, searched for in the path of the layer, as ``features.0``.
        operator: The operator, as ``conv2d``; None for any.
        weights: See `Precision`, as for the rest.
    """

    layer: str | None = None
    operator: str | None = None
    weights: str | None = None
    activations: str | None = None
    granularity: str | None = None
    sparsity: float | None = None

    def matches(self, layer: str, operator: str) -> bool:
        """Whether an operator of a layer is meant."""
        if self.operator not in (None, operator):
            return False
        return self.layer is None or re.search(self.layer, layer) is not None

    def changed(self, precision: Precision) -> Precision:
        """Return a precision with what this says instead."""
        names = ("weights", "activations", "granularity", "sparsity")
        given = {name: getattr(self, name) for name in names}
        return replace(precision, **{k: v for k, v in given.items() if v is not None})

    def __str__(self) -> str:
        """Name it as its file does."""
        keys = (("layer", self.layer), ("operator", self.operator))
        return ", ".join(f"{key} = {value!r}" for key, value in keys if value is not None)


@dataclass(frozen=True)
class Recipe:
    """One precision recipe.

    Attributes:
        name: As in the file name, e.g. ``fp16``.
        description: One sentence for people.
        aliases: Other names for it.
        weights: What weights are stored in; see `Precision`.
        activations: What the artifact computes in; see `Precision`.
        tolerance: Bounds that conversion holds the artifact to: against the source model or, where
            the recipe quantizes, against the quantized graph.
        granularity: What shares one scale of integer weights; see `Precision`.
        sparsity: Share of the weights that become zero.
        calibration: How ranges are found, for a recipe that needs calibration data.
        source_tolerance: Bounds against the source model, where they are not `tolerance`.
        overrides: Exceptions, in order: where several match, later ones win, field by field.
    """

    name: str
    description: str
    aliases: tuple[str, ...]
    weights: str
    activations: str
    tolerance: Tolerance
    granularity: str = "channel"
    sparsity: float = 0.0
    calibration: Calibration | None = None
    source_tolerance: Tolerance | None = None
    overrides: tuple[Override, ...] = ()

    @property
    def precision(self) -> Precision:
        """What a layer is made in that no override names."""
        return Precision(self.weights, self.activations, self.granularity, self.sparsity)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Its own precision, and what each override makes of that."""
        return (self.precision, *(each.changed(self.precision) for each in self.overrides))

    def at(self, layer: str, operator: str) -> Precision:
        """Return what one operator of a layer is made in."""
        precision = self.precision
        for override in self.overrides:
            if override.matches(layer, operator):
                precision = override.changed(precision)
        return precision

    @property
    def is_static(self) -> bool:
        """Whether it quantizes activations by ranges found beforehand on calibration data."""
        return self.calibration is not None

    @property
    def changes_graph(self) -> bool:
        """Whether it quantizes the graph itself, before the formats part."""
        return self.is_static or any(each.changes_weights_only for each in self.precisions)

    @property
    def tolerance_to_source(self) -> Tolerance:
        """Bounds against the source model itself."""
        return self.source_tolerance or self.tolerance

    def bytes_for(self, parameters: int) -> int:
        """Return how many bytes that many weights take in this recipe."""
        return parameters * BITS[self.weights] // 8

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Recipe:
        """Return the recipe that `to_json` described."""
        kinds: dict[str, Any] = {
            "tolerance": Tolerance,
            "calibration": Calibration,
            "source_tolerance": Tolerance,
        }
        tables = {name: kind(**data[name]) for name, kind in kinds.items() if data.get(name)}
        overrides = tuple(Override(**each) for each in data.get("overrides", ()))
        aliases = tuple(data["aliases"])
        return Recipe(**{**data, **tables, "aliases": aliases, "overrides": overrides})


@cache
def recipes() -> dict[str, Recipe]:
    """Return all recipes by name."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.toml"))}


def load_recipe(name: str | Path | Recipe) -> Recipe:
    """Return the recipe that `name` means.

    Args:
        name: Its name or an alias, case and hyphens ignored; or the path of a ``.toml`` file.

    Raises:
        UsageError: no such recipe, or a mistake in a file.
    """
    if isinstance(name, Recipe):
        return name
    if isinstance(name, Path) or name.endswith(".toml"):
        return _read(Path(name))
    by_alias = {alias: recipe.name for recipe in recipes().values() for alias in recipe.aliases}
    known = {name: name for name in recipes()} | by_alias
    return recipes()[known[registry.match(name, known, "recipe")]]


def _read(path: Path) -> Recipe:
    """Read a recipe file; what it does not say is taken from its ``base``.

    Raises:
        UsageError: the file cannot be read, or something in it is wrong.
    """
    data = recipefile.read(path)
    base = data.pop("base", None)
    given: dict[str, Any] = {"aliases": (), "overrides": ()}
    if base is not None:
        inherited = load_recipe(str(path.parent / base) if base.endswith(".toml") else base)
        given = {**inherited.to_json(), "aliases": ()}
        data["overrides"] = (*given["overrides"], *data.get("overrides", ()))
    recipe = Recipe.from_json({**given, **data, "name": path.stem})
    wrong = [each.contradiction for each in recipe.precisions]
    static = any(each.is_static for each in recipe.precisions)
    if static and recipe.calibration is None:
        wrong.append("integer activations need a table [calibration] that gives a method")
    if recipe.calibration is not None and not static:
        wrong.append("calibration is for activations int8 or int16, and nothing has them")
    for each in filter(None, wrong):
        raise UsageError(f"{path}: {each}.")
    return recipe
