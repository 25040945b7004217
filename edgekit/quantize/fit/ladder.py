"""The precisions that an accuracy budget chooses among for each layer, and what each costs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgekit import registry
from edgekit.recipe import Override, Precision, Recipe
from edgekit.recipefile import BITS

# Rough time of a layer over its time in float32, by what it computes in, where a format says
# nothing: as wide as the values.
_WIDTH = {"int8": 0.25, "int16": 0.5, "float16": 0.5, "float32": 1.0}
FLOAT_REFUSED = "only integers are asked for"


@dataclass(frozen=True)
class Rung:
    """One precision: what weights are stored in, and what a layer computes in."""

    name: str
    weights: str
    activations: str

    @property
    def is_integer(self) -> bool:
        """Whether a layer computes in integers."""
        return self.activations in {"int8", "int16"}

    @property
    def size(self) -> float:
        """Bytes of the weights over those in float32."""
        return BITS[self.weights] / BITS["float32"]

    def override(self, layer: str) -> Override:
        """Return what gives layers of a pattern this precision."""
        return Override(layer=layer, weights=self.weights, activations=self.activations)


LADDER = {  # the cheapest first
    each.name: each
    for each in (
        Rung("w8a8", "int8", "int8"),
        Rung("w8a16", "int8", "int16"),
        Rung("w8fp16", "int8", "float16"),
        Rung("w8fp32", "int8", "float32"),
        Rung("fp16", "float16", "float16"),
        Rung("fp32", "float32", "float32"),
    )
}


@dataclass(frozen=True)
class Ladder:
    """The precisions that one conversion may choose among.

    Attributes:
        rungs: Those that every format takes beside the recipe's own, the cheapest first.
        refused: Why it is none of the others, by name.
        pace: Rough time of a layer over its time in float32, by name, as the formats say.
    """

    rungs: tuple[Rung, ...]
    refused: Mapping[str, str]
    pace: Mapping[str, float]

    def above(self, bottom: Precision) -> tuple[Rung, ...]:
        """Return the precision of a layer as the recipe has it, and those to choose instead."""
        order = list(LADDER)
        first = rung_of(bottom)
        later = [each for each in self.rungs if order.index(each.name) > order.index(first.name)]
        return (first, *later)

    def cost(self, name: str, macs: float, weights: float) -> float:
        """Return what a layer costs: its share of time and of bytes, each 1 for all in float32."""
        return self.pace[name] * macs + LADDER[name].size * weights


def climbed(
    recipe: Recipe, formats: Collection[str] = (), *, integers_only: bool = False
) -> Ladder:
    """Return the precisions that a recipe's layers may take in all of some formats."""
    modules = {name: registry.load("formats", name) for name in formats}
    # A format that refuses the recipe itself is told so when it is converted to.
    taken = {name: each for name, each in modules.items() if each.supports(recipe) is None}
    rungs, refused = [], {}
    for rung in LADDER.values():
        mixed = replace(recipe, overrides=(*recipe.overrides, rung.override("")))
        said = {name: each.supports(mixed) for name, each in taken.items()}
        against = [f"{name}: {reason}" for name, reason in said.items() if reason is not None]
        if integers_only and not rung.is_integer:
            against = [FLOAT_REFUSED]
        if against:
            refused[rung.name] = against[0]
        else:
            rungs.append(rung)
    pace = {name: _pace(rung, taken.values()) for name, rung in LADDER.items()}
    return Ladder(tuple(rungs), refused, pace)


def _pace(rung: Rung, modules: Collection[Any]) -> float:
    """Return the mean of what formats say."""
    said = [getattr(each, "PACE", {}).get(rung.name, _WIDTH[rung.activations]) for each in modules]
    return sum(said) / len(said) if said else _WIDTH[rung.activations]


def rung_of(precision: Precision) -> Rung:
    """Return the rung that a static precision is."""
    wanted = precision.weights, precision.activations
    return next(each for each in LADDER.values() if (each.weights, each.activations) == wanted)


def applied(recipe: Recipe, chosen: Mapping[str, str]) -> Recipe:
    """Return a recipe that gives layers the precisions that are chosen for them, by path."""
    more = [LADDER[name].override(f"^{re.escape(layer)}$") for layer, name in chosen.items()]
    return replace(recipe, overrides=(*recipe.overrides, *more))
