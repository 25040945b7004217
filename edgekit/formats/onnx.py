"""ONNX, through ``torch.onnx``.

Element types stay as the source has them, int64 token inputs included.  Recipe ``fp16`` computes in
float16 behind float32 inputs and outputs (`_onnx_fp16`).  A quantized program becomes
QuantizeLinear and DequantizeLinear pairs, which ONNX Runtime fuses to integer operators.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.clock import CONVERTER, timed
from edgekit.errors import ConversionError, UnavailableError
from edgekit.formats import Option, Options, mapped, missing, unmade, versions
from edgekit.layers import in_module
from edgekit.passes.legalization import legalize
from edgekit.passes.rules import rules_for
from edgekit.program import Program
from edgekit.recipe import Precision, Recipe
from edgekit.tensors import DType, Signature
from edgekit.wire import ModelSummary

if TYPE_CHECKING:
    import onnx_ir
    from torch.export import ExportedProgram

# The newest opset that ONNX Runtime 1.17 (early 2024) and the mobile builds made from it load.
# Below it, GELU is left as arithmetic.
DEFAULT_OPSET = 20

_NOTES = ("name_scopes", "class_hierarchy")  # of the exporter: where a node comes from
_ALL_INTEGERS = 21  # the opset with scales by blocks, and with integers of 4 and 16 bits
_LONGEST_VECTOR = 2**16  # of those that are compared: scales and zero points by channel

SUFFIXES = (".onnx",)
COST = 1
REDUCES_RANGE = True  # for ONNX Runtime on x86; see `edgekit.quantize.saturation`
MAX_BYTES = None  # above 2 GB the weights stand in a second file
# Between integers and float, on CPUs: `scripts/budget_bars.py --paces`.  16-bit pairs and 8-bit
# weights are made float32 whenever the model runs; float16 is, once.
PACE = {"w8a8": 0.7, "w8a16": 1.8, "w8fp32": 1.5, "fp16": 1.0}
OPTIONS = (
    Option(
        "opset",
        f"ONNX operator set version; {DEFAULT_OPSET} without the option, 21 for integers of 4 and "
        "16 bits.",
        None,
        tuple(range(18, 24)),
    ),
)
REPRODUCE = """\
import onnxruntime

names = list(expected)
torch.onnx.export(
    program, (), "model.onnx", dynamo=True, input_names=list(inputs), output_names=names
)
session = onnxruntime.InferenceSession("model.onnx")
outputs = dict(zip(names, session.run(names, inputs)))
"""


def unavailable() -> UnavailableError | None:
    """Return why ONNX cannot be converted to here."""
    return missing(("torch", "onnx", "onnx_ir", "onnxscript"), "Converting to ONNX", "convert,onnx")


def toolchain() -> dict[str, str]:
    """Return the versions of the packages that shape an ONNX file."""
    return versions("torch", "onnx", "onnx-ir", "onnxscript")


def supports(recipe: Recipe) -> str | None:
    """Return why ONNX cannot make a recipe, or None when it can."""
    return unmade(recipe, _reason_against)


def _reason_against(precision: Precision) -> str | None:
    if precision.weights.startswith("lut"):
        return "it has no operator for tables of weights"
    if precision.sparsity:
        return "it stores zeros like any other number, so nothing would get smaller"
    if precision.activations == "dynamic" and (precision.weights, precision.block_size) != (
        "int8",
        None,
    ):
        return "its integer products take 8-bit weights with one scale per channel"
    if precision.activations == "float16" and precision.has_integer_weights:
        return "it computes in float32 with integer weights: set activations to float32"
    if (precision.weights, precision.activations) == ("float16", "float32"):
        return "it computes in float16 with float16 weights: set activations to float16"
    return None


def warm_up() -> None:
    """Import torch's exporter and the operator library behind it."""
    for module in (
        "torch.onnx._internal.exporter._core",
        "onnxscript.optimizer",
        "onnxscript.function_libs.torch_lib.ops",
    ):
        importlib.import_module(module)
    _accepted()  # takes a second, which is free while the model is exported
    rules_for("onnx")


def lower(program: Program, recipe: Recipe, options: Options, destination: Path) -> Signature:
    """Write the program as an ONNX file."""
    import torch
    from onnx_ir.passes.common import DeduplicateInitializersPass, RemoveUnusedNodesPass
    from onnxscript import optimizer

    from edgekit.formats import (
        _onnx_file,
        _onnx_float_layers,
        _onnx_fp16,
        _onnx_functions,
        _onnx_integers,
        _onnx_steps,
        _onnx_uint8,
        _onnx_weights,
    )
    from edgekit.quantize import dialects, gates

    opset = _opset(recipe, options)
    dialects.with_float_recurrence(program.exported)
    gates.with_integer_gates(program.exported, multiply=False)
    integers = dialects.with_float_weights(program.exported)
    legal = legalize(program.exported, "onnx", accepts)
    with timed(CONVERTER), _decomposed_once():
        exported = torch.onnx.export(
            legal,
            (),
            dynamo=True,
            verbose=False,
            optimize=False,
            custom_translation_table=_onnx_functions.TRANSLATIONS,
            opset_version=opset,
            input_names=[spec.name for spec in program.signature.inputs],
            output_names=[spec.name for spec in program.signature.outputs],
        )
        assert exported is not None
        model: onnx_ir.Model = exported.model
        _onnx_weights.store(model, integers)
        optimizer.optimize(model)
    if any(each.activations == "float16" for each in recipe.precisions):
        _onnx_fp16.convert(model, opset, lambda node: _stays_float32(node, recipe))
    if program.quantization is not None:
        _onnx_uint8.convert(model)
        _onnx_integers.convert(model)
        _onnx_float_layers.keep(model)
        DeduplicateInitializersPass(size_limit=_LONGEST_VECTOR)(model)
        RemoveUnusedNodesPass()(model)
        _onnx_steps.shorten(model)
    _describe(model, program)
    _onnx_file.write(model, destination)
    return mapped(program.signature, {DType.BFLOAT16: DType.FLOAT32})


def _stays_float32(node: onnx_ir.Node, recipe: Recipe) -> bool:
    """Whether an override keeps the layer that a node was exported from out of float16."""
    notes = [node.metadata_props.get(f"pkg.torch.onnx.{key}") for key in _NOTES]
    if not recipe.overrides or None in notes:
        return recipe.activations != "float16"
    scopes, classes = (ast.literal_eval(str(text)) for text in notes)
    operator = str(classes[-1]).removeprefix("aten.").partition(".")[0]
    layer = in_module(scopes[-2]) if len(scopes) > 1 else ""
    return recipe.at(layer, operator).activations != "float16"


def _opset(recipe: Recipe, options: Options) -> int:
    """Return the operator set to write in: the oldest that has what the recipe needs."""
    asked: int | None = options["opset"]
    narrow = any(p.weights == "int4" or p.activations == "int16" for p in recipe.precisions)
    if asked is not None and narrow and asked < _ALL_INTEGERS:
        raise ConversionError(
            f"ONNX has integers of 4 and 16 bits from opset {_ALL_INTEGERS} on, and "
            f"--opset {asked} is asked for.",
            "Leave --opset out, or use another recipe.",
        )
    return asked or (_ALL_INTEGERS if narrow else DEFAULT_OPSET)


def accepts(operator: Any) -> bool:
    """Whether torch's exporter has an ONNX function for an ATen overload, or decomposes it."""
    return operator in _accepted()


@contextmanager
def _decomposed_once() -> Iterator[None]:
    """Keep the exporter from tracing a program anew that has nothing left to decompose."""
    from torch.onnx._internal.exporter import _fx_passes

    decompose = _fx_passes.decompose_with_registry

    def decompose_rest(exported_program: ExportedProgram, registry: Any) -> ExportedProgram:
        modules = exported_program.graph_module.modules()
        graphs = [each for each in modules if hasattr(each, "graph")]
        called = {node.target for each in graphs for node in each.graph.nodes}
        left = {each for each in called if hasattr(each, "_schema")} - _implemented()
        again = left or exported_program.dialect != "ATEN"
        return decompose(exported_program, registry) if again else exported_program

    _fx_passes.decompose_with_registry = decompose_rest
    try:
        yield
    finally:
        _fx_passes.decompose_with_registry = decompose


@cache
def _accepted() -> frozenset[Any]:
    from torch.onnx._internal.exporter import _decomp

    known = set(_implemented())
    return frozenset({*known, *_decomp.create_onnx_friendly_decomposition_table(known)})


@cache
def _implemented() -> frozenset[Any]:
    """Return the overloads that there are ONNX functions for."""
    import torch.ao.quantization.fx._decomposed  # noqa: F401 - the registry leaves out unknown operators
    from torch.onnx._internal.exporter import _decomp, _registration

    from edgekit.formats import _onnx_functions

    registry = _registration.ONNXRegistry.from_torchlib()
    known = _decomp.get_onnx_implemented_overloads(registry)
    return frozenset({*known, *_onnx_functions.TRANSLATIONS})


def summarize(path: Path) -> ModelSummary:
    """Read what an ONNX file holds."""
    from edgekit.wire import onnx

    return onnx.summarize(path)


def _describe(model: onnx_ir.Model, program: Program) -> None:
    """Set the metadata, and drop the exporter's notes: they name files on this machine."""
    model.graph.name = program.metadata.name
    model.doc_string = program.metadata.description
    model.producer_name, model.producer_version = "edgekit", versions("edgekit")["edgekit"]
    model.metadata_props.clear()
    model.metadata_props.update(program.metadata.items())
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in model.graph.initializers.values():
        value.metadata_props.clear()
