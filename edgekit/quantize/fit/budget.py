"""The cheapest precision per layer that keeps a model within a budget of accuracy.

Layers are simulated one at a time, in each precision that the formats take, to learn what each
costs in exactness.  A step is one layer in a more exact precision; steps are ordered by the noise
that they take away for what they cost in time and bytes.  How many are needed is found by halving.
Then the dearest are taken back, where the plan does without them or with cheaper ones instead.
Each plan that is tried is a real quantization of the whole model, judged by its task or by the
float model's answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgekit.errors import ConversionError, UsageError
from edgekit.exporting import to_numpy
from edgekit.metrics import compare
from edgekit.quantize import static, watching
from edgekit.quantize.calibration import CalibrationData
from edgekit.quantize.costs import tensors
from edgekit.quantize.fit import ladder, sensitivity
from edgekit.quantize.fit.ladder import LADDER, Ladder, applied
from edgekit.quantize.fit.within import Sensitivity, Within
from edgekit.quantize.precisions import precision_of
from edgekit.recipe import Recipe
from edgekit.runtimes import Arrays

if TYPE_CHECKING:
    from edgekit.program import Program

Run = Callable[[Arrays], Arrays]
Plan = Mapping[str, str]  # layers in another precision than the recipe's, and its name
_PROBES = 4  # samples that sensitivity is measured on
_TAKEN_BACK = 8  # steps, at most, that it is tried to do without in the end
_NOTHING = 1e-9  # what a step costs at least
AGREEMENT, ERROR = "answers that differ from the float model's", "error of the outputs (RMS)"


def fit(
    program: Program,
    recipe: Recipe,
    data: CalibrationData,
    budget: float,
    evaluate: Callable[[Run], dict[str, float]] | None = None,
    formats: Collection[str] = (),
    *,
    integers_only: bool = False,
) -> Within:
    """Find the recipe.

    Args:
        program: The float program.
        recipe: A static recipe to start from.
        data: Calibration data; without `evaluate` the float model's answers on it are the measure.
        budget: The highest loss, as a fraction: 0.01 is one point of the metric.
        evaluate: Measures the task, given a way to run one input set; of the figures that it
            returns the first counts, and higher is better.
        formats: What the recipe must be possible in.
        integers_only: Whether no layer may compute in float.

    Raises:
        ConversionError: nothing fits, or every layer would have to be in float.
    """
    metric, judge = _judge(program, data, evaluate)
    tried: dict[tuple[tuple[str, str], ...], float] = {}

    def loss(plan: Plan) -> float:
        key = tuple(sorted(plan.items()))
        if key not in tried:
            floating = 0 < len(plan) == len(layers) and _all_float(plan)
            made = None if floating else static.quantize(program, applied(recipe, plan), data)
            tried[key] = 0.0 if made is None else judge(made)
        return tried[key]

    possible = ladder.climbed(recipe, formats, integers_only=integers_only)
    layers = _sensitivities(program, recipe, data, possible)
    steps = _steps(layers, possible)

    count = _fewest(lambda count: loss(_plan(steps[:count])), budget, len(steps))
    plan = _cheaper(count, steps, lambda plan: loss(plan) <= budget)
    if loss(plan) > budget:
        names = " and ".join(each.name for each in possible.rungs)
        raise ConversionError(
            f"{names} do not meet {budget:.2%} of {metric}: they lose {loss(plan):.2%} or more.",
            "Allow more, give better calibration data, or allow float layers: leave --io out.",
        )
    if 0 < len(plan) == len(layers) and _all_float(plan):
        raise ConversionError(
            f"No layer can be quantized within {budget:.2%} of {metric}: with all of them the loss "
            f"is {loss({}):.2%}.",
            "Allow more, give better calibration data, or use recipe fp16.",
        )
    return Within(
        applied(recipe, plan), metric, budget, loss({}), loss(plan), layers, plan,
        tuple(sorted((len(key), each) for key, each in tried.items())), possible.refused, {},
    )  # fmt: skip


def _all_float(plan: Plan) -> bool:
    return all(LADDER[name].weights != "int8" for name in plan.values())


@dataclass(frozen=True)
class _Step:
    """A layer goes from one precision to a more exact one, and what that brings and costs."""

    layer: str
    before: str
    rung: str
    cost: float
    worth: float


def _steps(layers: Sequence[Sensitivity], possible: Ladder) -> list[_Step]:
    """Return the steps of all layers, the most worthwhile first; those of one layer in order."""
    macs = max(sum(each.macs for each in layers), 1)
    weights = max(sum(each.weights for each in layers), 1)
    steps: list[_Step] = []
    for each in layers:
        shares = each.macs / macs, each.weights / weights
        price = {name: possible.cost(name, *shares) for name in each.noises}
        at, limit = each.first, float("inf")
        while rest := [name for name in each.noises if each.noises[name] < each.noises[at]]:
            found = [
                (each.noises[at] - each.noises[name], price[name] - price[at], name)
                for name in rest
            ]
            gain, more, name = max(found, key=lambda one: one[0] / max(one[1], _NOTHING))
            limit = min(limit, gain / max(more, _NOTHING) ** 0.5)
            steps.append(_Step(each.layer, at, name, more, limit))
            at = name
    return sorted(steps, key=lambda step: -step.worth)


def _fewest(loss: Callable[[int], float], budget: float, most: int) -> int:
    """Return the smallest number that is within the budget: doubling first, then halving."""
    low, high = -1, 0
    while high < most and loss(high) > budget:
        low, high = high, min(max(1, 2 * high), most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= budget else (middle, high)
    return high


def _cheaper(count: int, steps: Sequence[_Step], fits: Callable[[Plan], bool]) -> Plan:
    """Take back the dearest of the first steps, or take cheaper ones instead, where that fits."""
    taken, rest = list(steps[:count]), list(steps[count:])
    for step in sorted(taken, key=lambda step: -step.cost)[:_TAKEN_BACK]:
        others = [each for each in taken if each != step]
        if any(each.layer == step.layer and each.before == step.rung for each in others):
            continue  # it goes on from there
        if fits(_plan(others)):
            taken = others
            continue
        instead = _worth_less_than(step, rest)
        if instead and fits(_plan([*others, *instead])):
            taken = [*others, *instead]
            rest = [each for each in rest if each not in instead]
    return _plan(taken)


def _worth_less_than(step: _Step, rest: Sequence[_Step]) -> list[_Step]:
    """Return steps that together cost at most half of one, the most worthwhile first."""
    left, found = step.cost / 2, list[_Step]()
    stopped = {step.layer}
    for each in rest:
        if each.layer in stopped or each.cost > left:
            stopped.add(each.layer)
            continue
        found.append(each)
        left -= each.cost
    return found


def _plan(steps: Sequence[_Step]) -> Plan:
    return {step.layer: step.rung for step in steps}


def _sensitivities(
    program: Program, recipe: Recipe, data: CalibrationData, possible: Ladder
) -> tuple[Sensitivity, ...]:
    """Return every layer that the recipe makes in integers, the most harmful first."""
    module = program.exported.module(check_guards=False)
    groups = sensitivity.layers(module.graph, recipe)
    rungs = {layer: possible.above(precision_of(each[0], recipe)) for layer, each in groups.items()}
    samples = [tensors(sample, program) for sample in data.samples]
    with torch.no_grad():
        ranges = watching.input_ranges(module, samples)
    noises = sensitivity.measure(module, rungs, samples[:_PROBES], ranges, groups)
    found = [
        Sensitivity(
            layer, noises[layer], *map(sum, zip(*map(sensitivity.size_of, nodes), strict=True))
        )
        for layer, nodes in groups.items()
    ]
    return tuple(sorted(found, key=lambda each: -each.noise))


def _judge(
    program: Program, data: CalibrationData, evaluate: Callable[[Run], dict[str, float]] | None
) -> tuple[str, Callable[[Program], float]]:
    """Return the name of the loss and a function that measures it on a quantized program."""
    run = _runner(program)
    if evaluate is not None:
        name, before = _figure(evaluate(run))
        return f"loss of {name}", lambda made: before - _figure(evaluate(_runner(made)))[1]
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


def _figure(found: Any) -> tuple[str, float]:
    """Return the first figure that an evaluation gives.

    Raises:
        UsageError: it gives none.
    """
    name, value = next(iter(found.items())) if isinstance(found, dict) and found else ("", None)
    if not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise UsageError(
            f"evaluate() of the source returned {found!r}, which is no measure of accuracy.",
            "It must return a dict from names to finite numbers; the first counts.",
        )
    return str(name), float(value)


def _runner(program: Program) -> Run:
    module = program.exported.module(check_guards=False)

    def run(sample: Arrays) -> Arrays:
        with torch.no_grad():
            outputs = module(**tensors(sample, program))
        return {name: to_numpy(value) for name, value in outputs.items()}

    return run
