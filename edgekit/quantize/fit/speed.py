"""Which kinds of layers 8 bits make slower here, found by running the whole model both ways.

Integer kernels are not fast everywhere: that depends on the processor, the runtime and the shapes.
So artifacts are made with one kind of layer after another in float, and timed in turns beside the
float artifact.  A layer in float keeps weights of 8 bits where the runtime loses no time by that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError
from edgekit.layers import layer_of
from edgekit.quantize.calibration import CalibrationData
from edgekit.quantize.constants import WEIGHTED
from edgekit.quantize.fit.bench import Bench, Lower
from edgekit.quantize.fit.sensitivity import size_of
from edgekit.quantize.fit.within import Fast
from edgekit.quantize.precisions import base_name, precision_of
from edgekit.recipe import Override, Recipe

if TYPE_CHECKING:
    from torch.fx import Node

    from edgekit.program import Program

_GAIN = 0.98  # a kind of layer changes sides for no less
_NO_LOSS = 1.1  # within the noise of a busy machine
_LITTLE, _MOST = 0.1, 0.9  # of the multiplications: kinds of layers between are tried by themselves
_ENOUGH = 0.9  # below it nothing more is tried
DEPTHWISE, POINTWISE, SPATIAL = "depthwise convolutions", "1x1 convolutions", "convolutions"
TRANSPOSED, LINEAR = "transposed convolutions", "linear layers"


def fit(
    load: Callable[[], Program],
    recipe: Recipe,
    data: CalibrationData,
    lower: Lower,
    format_name: str,
    folder: Path,
) -> Fast:
    """Find the recipe.

    Args:
        load: Gives the float program, anew each time.
        recipe: A static recipe to start from.
        data: Calibration data.
        lower: Writes a program in a recipe as a file of the format.
        format_name: The format.
        folder: Where to put files for the while.

    Raises:
        ConversionError: float is faster throughout, and weights of 8 bits alone cost time as well.
    """
    kinds, weight = _kinds(load(), recipe)
    bench = Bench(load, data, lower, format_name, folder)
    integer = bench.timed("all in 8 bits", recipe)
    if integer < _ENOUGH:
        return Fast(recipe, format_name, {}, integer, tuple(bench.trials))
    narrow = bench.timed("weights alone in 8 bits", _in_float(recipe, kinds, kinds, "int8"))
    held = "int8" if narrow <= _NO_LOSS else "float32"
    otherwise = narrow if held == "int8" else 1.0
    floating = set() if integer <= max(otherwise, 1.0) else set(kinds)
    best = otherwise if floating else integer
    for kind in weight:
        other = floating ^ {kind}
        if len(other) == len(kinds) and held == "float32":
            continue  # that is the float artifact
        told = f"{kind} in {'8 bits' if kind in floating else 'float'}"
        found = bench.timed(told, _in_float(recipe, kinds, other, held))
        if found < best * _GAIN:
            floating, best = other, found
    if len(floating) == len(kinds) and held == "float32":
        raise ConversionError(
            f"Float is faster here than 8 bits in every kind of layer: {bench.told}.",
            "Use recipe fp32, or a weight_only recipe for a smaller file.",
        )
    chosen = _in_float(recipe, kinds, floating, held)
    slow = {kind: tuple(sorted(kinds[kind])) for kind in kinds if kind in floating}
    return Fast(chosen, format_name, slow, best, tuple(bench.trials))


def _kinds(program: Program, recipe: Recipe) -> tuple[dict[str, set[str]], list[str]]:
    """Return the layers that a recipe makes in integers by kind, and the kinds worth a trial."""
    found: dict[str, set[str]] = {}
    work: Counter[str] = Counter()
    for node in program.exported.graph.nodes:
        if base_name(node) in WEIGHTED and precision_of(node, recipe).is_static:
            found.setdefault(_kind(node), set()).add(layer_of(node))
            work[_kind(node)] += size_of(node)[0]
    least, most = _LITTLE * work.total(), _MOST * work.total()
    return found, [kind for kind, macs in work.most_common() if least <= macs <= most]


def _kind(node: Node) -> str:
    name = base_name(node)
    if name == "linear":
        return LINEAR
    if name.startswith("conv_transpose"):
        return TRANSPOSED
    weight: Any = node.args[1]
    _, inputs, *places = weight.meta["val"].shape
    groups = node.args[6] if len(node.args) > 6 else 1
    if groups != 1 and inputs == 1:
        return DEPTHWISE
    return POINTWISE if all(size == 1 for size in places) else SPATIAL


def _in_float(
    recipe: Recipe, kinds: Mapping[str, set[str]], chosen: Collection[str], held: str
) -> Recipe:
    """Return a recipe that computes some kinds of layers in float."""
    more = [
        Override(
            layer="^(" + "|".join(map(re.escape, sorted(kinds[kind]))) + ")$",
            weights=held,
            activations="float32",
        )
        for kind in kinds
        if kind in chosen
    ]
    return replace(recipe, overrides=(*recipe.overrides, *more))
