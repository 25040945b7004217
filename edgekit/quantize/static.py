"""Static quantization: observe a float program on calibration data, make it a quantized one."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit import passes, worker
from edgekit.dynamic import torch_shapes
from edgekit.errors import ConversionError
from edgekit.passes.graph import replace_node
from edgekit.quantize import Quantization, oddities, rounding, saturation, watching, weights
from edgekit.quantize.calibration import CalibrationData
from edgekit.quantize.costs import lowest_sqnr, outputs_of, tensors
from edgekit.quantize.dialects import is_quantize
from edgekit.quantize.methods import adaptive_rounding, bias_correction, equalization, ranges
from edgekit.quantize.precisions import base_name
from edgekit.quantize.preparation import prepare
from edgekit.quantize.quantizer import FUSED, GraphQuantizer
from edgekit.quiet import quiet
from edgekit.tensors import Dim

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

    from edgekit.program import Program
    from edgekit.recipe import Recipe


def quantize(program: Program, recipe: Recipe, data: CalibrationData) -> Program:
    """Return the program with quantize and dequantize nodes, and its own outputs as references.

    Raises:
        ConversionError: nothing in the model is quantized by the recipe.
    """
    assert recipe.calibration is not None
    program = program.copied()
    prepare(program.exported, recipe)  # folds constants, which integer weights must not be by now
    notes = weights.quantize(program.exported, recipe)
    samples = [tensors(sample, program) for sample in data.samples]
    with quiet(), torch.no_grad():
        module = program.exported.module(check_guards=False)
        if recipe.calibration.equalize:
            notes = (*notes, *equalization.equalize(module, recipe, samples))
        reached = watching.input_ranges(module, samples)
        ideal = ranges.outputs(module, samples) if recipe.calibration.method == ranges.AUTO else {}
        wanted = bias_correction.means(module, samples) if recipe.calibration.correct_bias else {}
        plain = copy.deepcopy(module) if recipe.calibration.rounding == "adaptive" else None
        prepared = prepare_pt2e(module, GraphQuantizer(recipe))
        method, why = ranges.find(prepared, recipe, samples, ranges.Ideal(ideal, wanted))
        recipe = replace(recipe, calibration=replace(recipe.calibration, method=method))
        saturation.relieve(prepared, recipe)
        if plain is not None:
            worker.stage("choosing how weights are rounded")
            adaptive_rounding.choose(prepared, plain, samples)
        if wanted:
            bias_correction.correct(prepared, samples, wanted)
    said = (*data.notes, *oddities.notes(module, reached), *notes, *why)
    return finished(prepared, program, recipe, data.origin, len(data.samples), said)


def finished(
    prepared: GraphModule,
    program: Program,
    recipe: Recipe,
    origin: str,
    samples: int,
    notes: tuple[str, ...],
) -> Program:
    """Return the quantized program of a graph whose ranges are found.

    Raises:
        ConversionError: nothing in the model is quantized by the recipe.
    """
    assert recipe.calibration is not None
    with quiet(), torch.no_grad():
        converted = convert_pt2e(prepared, fold_quantize=True)
        exported = _trace(converted, program)
    weights.keep_tables(exported)
    if not any(is_quantize(n) or weights.is_compressed(n) for n in exported.graph.nodes):
        raise ConversionError(
            f"Recipe {recipe.name} quantizes nothing in this model.",
            "It has no operator with an integer kernel: use recipe fp32 or fp16.",
        )
    _drop_redundant_clamps(exported)
    exported = passes.run(exported, ("drop_unused_weights",))[-1].exported
    outputs = outputs_of(exported, program)
    made = replace(program, exported=exported, references=outputs)
    record = Quantization(
        origin,
        samples,
        recipe.calibration.method,
        lowest_sqnr(program.references, outputs),
        notes,
        rounding.floor_db(made, outputs),
    )
    return replace(made, quantization=record)


def _trace(module: GraphModule, program: Program) -> ExportedProgram:
    """Export what PT2E gives: it works on modules, and converters take programs."""
    example = tensors(program.samples[0], program)
    ranges = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, Dim)}
        for spec in program.signature.inputs
    }
    varying = {name: axes for name, axes in ranges.items() if axes}
    shapes = torch_shapes(example, varying)
    return torch.export.export(module, (), example, dynamic_shapes=shapes)


def _drop_redundant_clamps(exported: ExportedProgram) -> None:
    """Take out each ReLU whose result is quantized to a range that starts at zero.

    Quantization clamps as well, and a ReLU in between keeps runtimes from fusing the two.
    """
    for node in list(exported.graph.nodes):
        if base_name(node) not in FUSED or not node.users:
            continue
        if all(is_quantize(user) and _is_within(node, user) for user in node.users):
            replace_node(exported, node, node.args[0])
    exported.graph_module.recompile()


def _is_within(clamp: Node, quantize: Node) -> bool:
    """Whether the range of a quantize node lies within that of the clamp before it."""
    quantization: Any = quantize.args[1:5]
    scale, zero, low, high = quantization
    bounds: dict[str, Any] = {"relu": (0, math.inf), "relu6": (0, 6)}
    lower, upper = bounds.get(base_name(clamp)) or clamp.args[1:3] or (-1, 1)
    slack = scale / 1000
    return bool((low - zero) * scale >= lower - slack and (high - zero) * scale <= upper + slack)
