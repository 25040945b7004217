"""What `edgekit.quantize.budget` and `.speed` find: a recipe, why it is so, and what it costs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgekit.recipe import Override, Recipe


@dataclass(frozen=True)
class Sensitivity:
    """One layer.

    Attributes:
        layer: Its path in the user's module.
        noise: Power of the outputs' error when it alone is quantized, over that of the outputs.
        macs: Multiplications of one inference.
        weights: Number of weights.
    """

    layer: str
    noise: float
    macs: int
    weights: int

    @property
    def sqnr_db(self) -> float:
        """The noise in decibels; infinite where there is none."""
        return -10 * math.log10(self.noise) if self.noise > 0 else math.inf

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Within:
    """A recipe within a budget, and how it was found.

    Attributes:
        recipe: The recipe, with one override per layer that stays in float.
        metric: What the losses are of.
        budget: The highest loss that is allowed, as a fraction.
        all_integer: Loss with every layer quantized.
        loss: Loss of the recipe.
        layers: Every layer, the most harmful first.
        kept: Paths of the layers that stay in float.
        trials: How many layers were kept in each quantization that was tried, with its loss.
    """

    recipe: Recipe
    metric: str
    budget: float
    all_integer: float
    loss: float
    layers: tuple[Sensitivity, ...]
    kept: tuple[str, ...]
    trials: tuple[tuple[int, float], ...]

    @property
    def float_macs(self) -> float:
        """The share of multiplications that stay in float."""
        total = sum(each.macs for each in self.layers)
        return sum(each.macs for each in self.layers if each.layer in self.kept) / max(total, 1)

    @property
    def extra_bytes(self) -> int:
        """By how much the layers in float make an artifact larger."""
        return sum(3 * each.weights for each in self.layers if each.layer in self.kept)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **vars(self),
            "recipe": self.recipe.to_json(),
            "layers": [each.to_json() for each in self.layers],
            "float_macs": self.float_macs,
            "extra_bytes": self.extra_bytes,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Within:
        """Rebuild from `to_json`."""
        given = {k: v for k, v in data.items() if k not in {"float_macs", "extra_bytes"}}
        return Within(
            **{
                **given,
                "recipe": Recipe.from_json(data["recipe"]),
                "layers": tuple(Sensitivity(**each) for each in data["layers"]),
                "kept": tuple(data["kept"]),
                "trials": tuple((count, loss) for count, loss in data["trials"]),
            }
        )


def keeping(recipe: Recipe, layers: Sequence[str]) -> Recipe:
    """Return a recipe that leaves some layers in float."""
    more = [
        Override(layer=f"^{re.escape(each)}$", weights="float32", activations="float32")
        for each in layers
    ]
    return replace(recipe, overrides=(*recipe.overrides, *more))


def as_toml(found: Within) -> str:
    """Return the recipe as a file to check in, with the reason for each line."""
    noises = {each.layer: each for each in found.layers}
    lines = [
        f"# {found.metric}: {found.loss:.2%} with {len(found.kept)} of {len(found.layers)} layers",
        f"# in float, {found.all_integer:.2%} with none; the budget was {found.budget:.2%}.",
        f"base = {json.dumps(found.recipe.name)}",
        f'description = "{found.recipe.name} within {found.budget:.2%} of the float model."',
    ]
    for layer in found.kept:
        lines += [
            "",
            f"# alone it brings the outputs to {noises[layer].sqnr_db:.1f} dB",
            "[[override]]",
            f"layer = {json.dumps(f'^{re.escape(layer)}$')}",
            'weights = "float32"',
            'activations = "float32"',
        ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Trial:
    """An artifact that was timed: what is in 8 bits, and its time over the float artifact's."""

    told: str
    ratio: float


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
        lines = [f"# {self.format}, time over that of the float artifact:"]
        lines += [f"#   {each.ratio:.2f} {each.told}" for each in self.trials]
        lines += [f"base = {json.dumps(self.recipe.name)}"]
        overrides = self.recipe.overrides[len(self.recipe.overrides) - len(self.slow) :]
        for kind, override in zip(self.slow, overrides, strict=True):
            lines += [
                "",
                f"# {kind}: faster in float",
                "[[override]]",
                f"layer = {json.dumps(override.layer)}",
                f'weights = "{override.weights}"',
                f'activations = "{override.activations}"',
            ]
        return "\n".join(lines) + "\n"
