"""The cheapest precision per layer that keeps a model within a budget of accuracy.

Layers are quantized one at a time to learn what each costs.  Those that cost most for what they
save are kept in float, as few as will do: how many is found by halving.  Each number that is tried
is a real quantization of the whole model, judged by its task or by the float model's answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.errors import ConversionError, UsageError
from edgekit.exporting import to_numpy
from edgekit.metrics import compare
from edgekit.quantize import sensitivity, static, watching
from edgekit.quantize.calibration import CalibrationData
from edgekit.quantize.costs import tensors
from edgekit.quantize.within import Sensitivity, Within, keeping
from edgekit.recipe import Recipe, recipes
from edgekit.runtimes import Arrays

if TYPE_CHECKING:
    from edgekit.program import Program

Run = Callable[[Arrays], Arrays]
_PROBES = 4  # samples that sensitivity is measured on
AGREEMENT, ERROR = "answers that differ from the float model's", "error of the outputs (RMS)"


def fit(
    program: Program,
    recipe: Recipe,
    data: CalibrationData,
    budget: float,
    evaluate: Callable[[Run], dict[str, float]] | None = None,
) -> Within:
    """Find the recipe.

    Args:
        program: The float program.
        recipe: A static recipe to start from.
        data: Calibration data; without `evaluate` the float model's answers on it are the measure.
        budget: The highest loss, as a fraction: 0.01 is one point of the metric.
        evaluate: Measures the task, given a way to run one input set; of the figures that it
            returns the first counts, and higher is better.

    Raises:
        ConversionError: every layer would have to stay in float.
    """
    if recipe.name not in recipes() or not recipe.is_static:
        raise UsageError(
            f"An accuracy budget starts from a static recipe of edgekit's own, not {recipe.name}.",
            "Use --recipe static_wi8_ai8.",
        )
    metric, judge = _judge(program, data, evaluate)
    layers = _sensitivities(program, recipe, data)
    order = sorted(layers, key=lambda each: -each.noise / max(each.macs, 1) ** 0.5)
    tried: dict[int, float] = {}

    def loss(count: int) -> float:
        if count not in tried:
            chosen = keeping(recipe, [each.layer for each in order[:count]])
            tried[count] = (
                judge(static.quantize(program, chosen, data)) if count < len(order) else 0
            )
        return tried[count]

    high = _fewest(loss, budget, len(order))
    if high == len(order):
        raise ConversionError(
            f"No layer can be quantized within {budget:.2%} of {metric}: with all of them the loss "
            f"is {tried[0]:.2%}.",
            "Allow more, give better calibration data, or use recipe fp16.",
        )
    kept = tuple(each.layer for each in order[:high])
    return Within(
        keeping(recipe, kept), metric, budget, tried[0], tried[high], layers, kept,
        tuple(sorted(tried.items())),
    )  # fmt: skip


def _fewest(loss: Callable[[int], float], budget: float, most: int) -> int:
    """Return the smallest number that is within the budget: doubling first, then halving."""
    low, high = -1, 0
    while high < most and loss(high) > budget:
        low, high = high, min(max(1, 2 * high), most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= budget else (middle, high)
    return high


def _sensitivities(
    program: Program, recipe: Recipe, data: CalibrationData
) -> tuple[Sensitivity, ...]:
    module = program.exported.module(check_guards=False)
    samples = [tensors(sample, program) for sample in data.samples]
    with torch.no_grad():
        ranges = watching.input_ranges(module, samples)
    return sensitivity.measure(module, recipe, samples[:_PROBES], ranges)


def _judge(
    program: Program, data: CalibrationData, evaluate: Callable[[Run], dict[str, float]] | None
) -> tuple[str, Callable[[Program], float]]:
    """Return the name of the loss and a function that measures it on a quantized program."""
    run = _runner(program)
    if evaluate is not None:
        name, before = next(iter(evaluate(run).items()))
        return f"loss of {name}", lambda made: before - next(iter(evaluate(_runner(made)).values()))
    wanted = [run(sample) for sample in data.samples]
    answers = all(
        compare(each, each).argmax_agreement is not None for each in wanted[0].values()
    ) and all(each.ndim == 2 for each in wanted[0].values())

    def loss(made: Program) -> float:
        got_by = _runner(made)
        pairs = [
            (want[name], got[name])
            for want, got in ((w, got_by(s)) for w, s in zip(wanted, data.samples, strict=True))
            for name in want
        ]
        if answers:
            return 1 - float(np.mean([compare(*pair).argmax_agreement for pair in pairs]))
        error = sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in pairs)
        return float(np.sqrt(error / max(sum(float(np.square(a).sum()) for a, _ in pairs), 1e-30)))

    return AGREEMENT if answers else ERROR, loss


def _runner(program: Program) -> Run:
    module = program.exported.module(check_guards=False)

    def run(sample: Arrays) -> Arrays:
        with torch.no_grad():
            outputs = module(**tensors(sample, program))
        return {name: to_numpy(value) for name, value in outputs.items()}

    return run
