"""What the searches of this room find: a recipe, why it is so, and what it costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgekit.quantize.fit.ladder import LADDER
from edgekit.recipe import Recipe
from edgekit.recipewriting import written


@dataclass(frozen=True)
class Sensitivity:
    """One layer.

    Attributes:
        layer: Its path in the user's module.
        noises: Power of the outputs' error over that of the outputs, when it alone is in a
            precision, by its name: first that of the recipe.
        macs: Multiplications of one inference.
        weights: Number of weights.
    """

    layer: str
    noises: Mapping[str, float]
    macs: int
    weights: int

    @property
    def first(self) -> str:
        """The precision that the recipe gives it."""
        return next(iter(self.noises))

    @property
    def noise(self) -> float:
        """The noise in the recipe's own precision."""
        return self.noises[self.first]

    @property
    def sqnr_db(self) -> float:
        """The same in decibels; infinite where there is none."""
        return -10 * math.log10(self.noise) if self.noise > 0 else math.inf


@dataclass(frozen=True)
class Trial:
    """An artifact that was made beside the float one.

    Attributes:
        told: What it is.
        ratio: Its time over the float artifact's; None where nothing here can tell.
        size: Its bytes over the float artifact's.
    """

    told: str
    ratio: float | None
    size: float = 0.0


@dataclass(frozen=True)
class Within:
    """A recipe within a budget, and how it was found.

    Attributes:
        recipe: The recipe, with one override per layer in another precision than it began with.
        metric: What the losses are of.
        budget: The highest loss that is allowed, as a fraction.
        all_integer: Loss with every layer as the recipe began.
        loss: Loss of the recipe.
        layers: Every layer, the most harmful first.
        chosen: The layers in another precision, and its name.
        trials: How many layers were in another one in each quantization tried, with its loss.
        refused: Why other precisions could not be chosen, by name.
        costs: By format, the artifact in the recipe it began with, and in the one found.
    """

    recipe: Recipe
    metric: str
    budget: float
    all_integer: float
    loss: float
    layers: tuple[Sensitivity, ...]
    chosen: Mapping[str, str]
    trials: tuple[tuple[int, float], ...]
    refused: Mapping[str, str]
    costs: Mapping[str, tuple[Trial, ...]]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many layers are in each precision, the cheapest first."""
        found = Counter(self.chosen.get(each.layer, each.first) for each in self.layers)
        return {name: found[name] for name in LADDER if found[name]}

    @property
    def float_macs(self) -> float:
        """The share of multiplications that are done in float."""
        total = sum(each.macs for each in self.layers)
        floating = {layer for layer, name in self.chosen.items() if not LADDER[name].is_integer}
        return sum(each.macs for each in self.layers if each.layer in floating) / max(total, 1)

    @property
    def extra_bytes(self) -> int:
        """By how much wider weights make an artifact larger."""
        return sum(
            round(
                4 * each.weights * (LADDER[self.chosen[each.layer]].size - LADDER[each.first].size)
            )
            for each in self.layers
            if each.layer in self.chosen
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **vars(self),
            "recipe": self.recipe.to_json(),
            "layers": [asdict(each) for each in self.layers],
            "costs": {name: [asdict(each) for each in made] for name, made in self.costs.items()},
            "counts": self.counts,
            "float_macs": self.float_macs,
            "extra_bytes": self.extra_bytes,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Within:
        """Rebuild from `to_json`."""
        derived = {"counts", "float_macs", "extra_bytes"}
        given = {k: v for k, v in data.items() if k not in derived}
        return Within(
            **{
                **given,
                "recipe": Recipe.from_json(data["recipe"]),
                "layers": tuple(Sensitivity(**each) for each in data["layers"]),
                "trials": tuple((count, loss) for count, loss in data["trials"]),
                "costs": {
                    name: tuple(Trial(**each) for each in made)
                    for name, made in data["costs"].items()
                },
            }
        )

    def as_toml(self) -> str:
        """Return the recipe as a file to check in, with the reason for each line."""
        noises = {each.layer: each for each in self.layers}
        head = [f"{self.metric}: {self.loss:.2%}; the budget was {self.budget:.2%}."]
        if self.chosen:
            last = f"the last {len(self.chosen)} override" + "s" * (len(self.chosen) > 1)
            head.append(f"Without {last}: {self.all_integer:.2%}.")
        for name, made in self.costs.items():
            head += [f"{name}: {each.told}: {of_float(each)}" for each in made]
        reasons = [
            f"{name}: alone in {noises[layer].first} it brings the outputs to "
            f"{noises[layer].sqnr_db:.1f} dB"
            for layer, name in self.chosen.items()
        ]
        return written(self.recipe, head, reasons)


def of_float(trial: Trial) -> str:
    """Return what an artifact costs beside the float one, in words."""
    time = "not timed here" if trial.ratio is None else f"{trial.ratio:.2f} of its time"
    return f"{trial.size:.2f} of the float artifact's size, {time}"


@dataclass(frozen=True)
class Fast:
    """A recipe that computes in float what 8 bits make slower, and how it was found.

    Attributes:
        recipe: The recipe, with one override per kind of layer that computes in float.
        format: The format that was measured.
        slow: The layers that compute in float, by their kind.
        ratio: Time of the artifact over that of the float one.
        trials: Every artifact that was timed.
    """

    recipe: Recipe
    format: str
    slow: Mapping[str, tuple[str, ...]]
    ratio: float
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **vars(self),
            "recipe": self.recipe.to_json(),
            "slow": {kind: list(layers) for kind, layers in self.slow.items()},
            "trials": [asdict(each) for each in self.trials],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Fast:
        """Rebuild from `to_json`."""
        return Fast(
            Recipe.from_json(data["recipe"]),
            data["format"],
            {kind: tuple(layers) for kind, layers in data["slow"].items()},
            data["ratio"],
            tuple(Trial(**each) for each in data["trials"]),
        )

    def as_toml(self) -> str:
        """Return the recipe as a file to check in, with what was measured."""
        head = [f"{self.format}, time over that of the float artifact:"]
        head += [f"  {each.ratio:.2f} {each.told}" for each in self.trials]
        return written(self.recipe, head, [f"{kind}: faster in float" for kind in self.slow])
