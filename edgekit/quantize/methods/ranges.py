"""Ranges: found on calibration data, and whether they leave out the rarest values.

Cutting tails makes the steps between all other values smaller, but what is rare may be what counts,
as a detector's one object among thousands of boxes.  No layer can tell by itself.  So the graph is
quantized with ranges of each kind, and its outputs decide: on samples that the ranges were not yet
found on, for on those that they were, nothing lies outside of the whole range, and cutting would
look better than it is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

from edgekit import metrics
from edgekit.exporting import to_numpy
from edgekit.quantize import saturation
from edgekit.quantize.methods import bias_correction
from edgekit.quantize.observers import AutoObserver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor
    from torch.fx import GraphModule

    from edgekit.quantize.methods.lockstep import Tensors
    from edgekit.recipe import Recipe
    from edgekit.runtimes import Arrays

_HELD_OUT = 16  # samples at most, and a quarter of all
AUTO = "auto"


@dataclass(frozen=True)
class Ideal:
    """What the float graph gives.

    Attributes:
        outputs: Its `outputs`; they are needed where the method is `AUTO`.
        means: What `bias_correction.correct` wants, or nothing where it is not asked for.
    """

    outputs: Arrays
    means: Mapping[str, Tensor]


def outputs(module: GraphModule, samples: Sequence[Tensors]) -> Arrays:
    """Return a graph's floating-point outputs on the samples that `find` decides on."""
    return _outputs(module, _held_out(samples))


def _outputs(module: GraphModule, samples: Sequence[Tensors]) -> Arrays:
    results = [module(**sample) for sample in samples]
    return {
        name: np.stack([to_numpy(each[name]) for each in results])
        for name in (results[0] if results else ())
        if results[0][name].is_floating_point()
    }


def find(
    prepared: GraphModule, recipe: Recipe, samples: Sequence[Tensors], ideal: Ideal
) -> tuple[str, tuple[str, ...]]:
    """Show all samples to the observers of a graph, and let them find ranges.

    Returns:
        The method, and what a reader should know of it.
    """
    assert recipe.calibration is not None
    method = recipe.calibration.method
    held = _held_out(samples)
    for sample in samples[len(held) :]:
        prepared(**sample)
    said: tuple[str, ...] = ()
    if method == AUTO:
        method, said = _best(prepared, recipe, held, ideal)
    for sample in held:
        prepared(**sample)
    _settle(prepared, method)
    return method, said


def _held_out(samples: Sequence[Tensors]) -> Sequence[Tensors]:
    return samples[: min(_HELD_OUT, len(samples) // 4)]


def _best(
    prepared: GraphModule, recipe: Recipe, held: Sequence[Tensors], ideal: Ideal
) -> tuple[str, tuple[str, ...]]:
    """Return the method that brings outputs nearest to the float graph's, and by how much."""
    whole, *others = AutoObserver.METHODS
    if not ideal.outputs or not any(each.cuts for each in _observers(prepared)):
        return whole, ()
    few = {name: rows[: len(held)] for name, rows in ideal.means.items()}
    found: dict[str, float] = {}
    for method in (whole, *others):
        _settle(prepared, method)
        trial = copy.deepcopy(prepared)
        saturation.relieve(trial, recipe)
        if few:
            bias_correction.correct(trial, held, few)
        made = _outputs(convert_pt2e(trial, fold_quantize=True), held)
        errors = [metrics.compare(want, made[name]) for name, want in ideal.outputs.items()]
        found[method] = min(each.sqnr_db for each in errors)
    best = max(found, key=found.__getitem__)
    if best == whole:
        return whole, ()
    said = (
        f"ranges leave out rare values (method {best}): on samples held out, that is "
        f"{found[best] - found[whole]:.1f} dB nearer to float than the whole ranges"
    )
    return best, (said,)


def _observers(prepared: GraphModule) -> Iterator[Any]:
    return (each for each in prepared.modules() if isinstance(each, AutoObserver))


def _settle(prepared: GraphModule, method: str) -> None:
    for each in _observers(prepared):
        each.settle(method)
