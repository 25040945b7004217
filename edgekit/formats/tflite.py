"""TFLite, through ``litert_torch`` (and ``ai_edge_quantizer`` for float16 weights).

TFLite runtimes and delegates work in 32 bits: int64 and float64 tensors, token inputs among them,
become int32 and float32, and the signature says so.  Recipe ``fp16`` stores weights as float16;
accelerators then compute in float16, the CPU in float32.  A quantized program becomes integer
operators behind float32 inputs and outputs (`_tflite_integer`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import buckets, passes
from edgekit.blame import first_line, root_cause
from edgekit.clock import CONVERTER, timed
from edgekit.errors import ConversionError, UnavailableError
from edgekit.formats import Option, Options, mapped, missing, unmade, versions
from edgekit.passes.legalization import legalize
from edgekit.passes.rules import rules_for
from edgekit.program import Program
from edgekit.recipe import Precision, Recipe
from edgekit.tensors import Dim, DType, Signature, TensorSpec
from edgekit.wire import ModelSummary

if TYPE_CHECKING:
    from torch.export import ExportedProgram

SUFFIXES = (".tflite",)
COST = 3
MAX_BYTES = 2**31 - 1  # offsets in a FlatBuffer are signed 32-bit numbers
# Of the CPU's kernels: `scripts/budget_bars.py --paces`.  Those for 16 bits are reference code.
PACE = {"w8a8": 0.7, "w8a16": 20.0, "w8fp32": 1.0}
OPTIONS = (
    Option(
        "layout",
        "Layout of rank-4 TFLite inputs: nchw as in PyTorch, or nhwc with channels last.",
        "nchw",
        ("nchw", "nhwc"),
    ),
    Option(
        "io",
        "Inputs and outputs of a static int8 TFLite model: float32, or int8 with a scale each.",
        "float32",
        ("float32", "int8"),
    ),
)
_DEFAULT = "serving_default"
_NARROW = {
    DType.INT64: DType.INT32,
    DType.FLOAT64: DType.FLOAT32,
    DType.BFLOAT16: DType.FLOAT32,
}
REPRODUCE = """\
import litert_torch
from ai_edge_litert.interpreter import Interpreter

tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
litert_torch.convert(program.module(), sample_kwargs=tensors).export("model.tflite")
run = Interpreter("model.tflite").get_signature_runner()
narrow = {"int64": "int32", "float64": "float32"}
outputs = run(**{n: a.astype(narrow.get(a.dtype.name, a.dtype)) for n, a in inputs.items()})
"""


# Compositions that the converter's own parts are right for.
_WHOLE = """
    linear matmul conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    layer_norm group_norm instance_norm batch_norm rms_norm softmax log_softmax
    scaled_dot_product_attention pad relu6 silu selu prelu max_pool1d max_pool2d max_pool3d
    avg_pool1d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d upsample_bicubic2d
    upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
    upsample_nearest3d std var var_mean std_mean square where type_as
"""


def unavailable() -> UnavailableError | None:
    """Return why TFLite cannot be converted to here."""
    return missing(
        ("torch", "litert_torch", "ai_edge_quantizer"), "Converting to TFLite", "convert,tflite"
    )


def toolchain() -> dict[str, str]:
    """Return the versions of the packages that shape a TFLite file."""
    return versions("torch", "litert-torch", "litert-converter", "ai-edge-quantizer")


def supports(recipe: Recipe) -> str | None:
    """Return why TFLite cannot make a recipe, or None when it can."""
    if len({each.weights == "float16" for each in recipe.precisions}) > 1:
        return "it stores the weights of all layers as float16, or of none"
    return unmade(recipe, _reason_against)


def _reason_against(precision: Precision) -> str | None:
    if precision.weights.startswith("lut"):
        return "it has no operator for tables of weights"
    if precision.sparsity:
        return "it stores zeros like any other number, so nothing would get smaller"
    if precision.activations == "dynamic" and precision.block_size and precision.weights != "int4":
        return "its runtimes take blocks of 4-bit weights only in dynamic layers"
    if precision.activations == "float16" and precision.has_integer_weights:
        return "it has no float16 arithmetic: set activations to float32"
    return None


def integers_only(options: Options) -> bool:
    """Whether a file without float operators is asked for."""
    return bool(options["io"] == "int8")


def warm_up() -> None:
    """Import the converter, and learn what it takes."""
    import litert_torch._convert.core  # noqa: F401 - imported for its time
    from litert_torch import fx_infra

    _decomposed_by(fx_infra)
    rules_for("tflite")


def lower(program: Program, recipe: Recipe, options: Options, destination: Path) -> Signature:
    """Write the program as a TFLite file with the signature ``serving_default``.

    Where the inputs take listed sizes, each has a subgraph with fixed shapes: the largest is
    ``serving_default``, the others are named after their size, and all share the weights.
    """
    if options["io"] == "int8" and not recipe.is_static:
        raise ConversionError(
            f"Inputs and outputs are int8 in static recipes, and {recipe.name} is none.",
            "Use --recipe int8, or leave --io out.",
        )
    from edgekit.formats import (
        _tflite_border,
        _tflite_file,
        _tflite_integer,
        _tflite_loops,
        _tflite_lowerings,
        _tflite_weights,
    )
    from edgekit.quantize import dialects, gates

    signature = mapped(
        program.signature,
        _NARROW,
        _channels_last if options["layout"] == "nhwc" else None,
    )
    _tflite_lowerings.register()
    programs = {}
    integers: dict[str, dialects.IntegerWeight] = {}
    for name, each in _at_each_size(program).items():
        if program.quantization is not None:
            each = gates.with_integer_gates(dialects.with_float_biases(each), multiply=True)
            each = dialects.with_quantize_nodes(each)
            integers |= dialects.with_float_weights(each, quantize=True)
        each = legalize(each, "tflite", accepts)
        each = passes.run(each, ("narrow_integers",))[-1].exported
        if options["layout"] == "nhwc":
            each = _take_channels_last(
                each, [s.name for s in signature.inputs if s.layout == "nhwc"]
            )
        programs[name] = each
    try:
        with timed(CONVERTER):
            content = _convert(programs, signature)
        content = _tflite_loops.write_loops(content)
    except Exception as error:
        raise _failure(signature, error) from error
    if recipe.weights == "float16":
        content = _store_weights_as_float16(content)
    if program.quantization is not None:
        layers = [each for each in integers.values() if not each.is_table]
        apart = {_tflite_weights.key_of(each) for each in layers}
        content = _tflite_integer.fold(content, apart)
        content = _tflite_weights.store(content, integers)
    if options["io"] == "int8":
        content, signature = _tflite_border.narrow(content, signature)
    _tflite_file.write(content, signature, program.metadata, destination)
    return signature


def accepts(operator: Any) -> bool:
    """Whether the converter lowers an ATen overload, or may be trusted to decompose it.

    What PyTorch composes of other operators is taken apart before the converter does it, so that
    the parts are legalized too; but not what is in every model and has no parts of interest.
    """
    from litert_torch import fx_infra
    from litert_torch.backend import lowerings

    if lowerings.lookup(operator) is not None:
        return True
    if operator not in _decomposed_by(fx_infra):
        return False
    return operator.overloadpacket.__name__ in _WHOLE.split() or not operator._can_decompose()  # noqa: SLF001


@cache
def _decomposed_by(converter: Any) -> frozenset[Any]:
    table = converter.decomp
    return frozenset({*table.pre_convert_decomp(), *table.pre_lower_decomp()})


def summarize(path: Path) -> ModelSummary:
    """Read what a TFLite file holds."""
    from edgekit.wire import tflite

    return tflite.summarize(path)


@dataclass(frozen=True)
class _Entry:
    """A signature, as the converter's own stages want it described."""

    name: str
    flat_arg_names: list[str]


def _at_each_size(program: Program) -> dict[str, ExportedProgram]:
    """Return the program by signature name: once, or once for every listed size."""
    sizes = buckets.sizes(program.signature)
    if not sizes:
        return {_DEFAULT: program.exported}
    names = [_DEFAULT, *("_".join(f"{n}_{size}" for n, size in each.items()) for each in sizes[1:])]
    fixed = (passes.run(buckets.fixed(program, each))[-1].exported for each in sizes)
    return dict(zip(names, fixed, strict=True))


def _convert(programs: Mapping[str, ExportedProgram], signature: Signature) -> bytes:
    """Run the stages of ``litert_torch.convert`` on programs that are exported already."""
    from litert_torch import fx_infra
    from litert_torch._convert import core, litert_converter

    fx_infra.silence_torch_logs()
    ready = []
    for exported in programs.values():
        reset = fx_infra.graph_utils.reset_from_node_meta(exported)
        simpler = fx_infra.safe_run_decompositions(
            reset, fx_infra.decomp.pre_convert_decomp(), can_skip=False
        )
        ready.append(core._run_convert_passes(simpler))  # noqa: SLF001 - convert() exports again
    names = [spec.name for spec in signature.inputs]
    entries = [_Entry(name, names) for name in programs]
    content: bytes = litert_converter.exported_programs_to_flatbuffer(ready, entries).to_bytes()
    return content


def _failure(signature: Signature, error: Exception) -> ConversionError:
    """Return what to say of the converter's error: it lowers few operators of varying sizes."""
    if isinstance(error, ConversionError):
        return error
    said = first_line(root_cause(error))
    varying = [
        spec
        for spec in signature.inputs
        if any(isinstance(dim, Dim) and not dim.sizes for dim in spec.shape)
    ]
    if not varying:
        return ConversionError(
            f"The TFLite converter refuses this model: {said}",
            "Find the part that it refuses with --bisect; other formats may take it.",
        )
    return ConversionError(
        f"The TFLite converter cannot convert this model while {varying[0]} may vary: {said}",
        "Give TFLite a fixed size with --input, or several with --buckets; ONNX keeps the "
        "dimension dynamic.",
    )


def _store_weights_as_float16(content: bytes) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer

    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    maker = quantizer.Quantizer(bytearray(content))
    maker.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=half,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key="float_casting",
    )
    try:
        return bytes(maker.quantize().quantized_model)
    except (RuntimeError, ValueError) as error:
        raise ConversionError(
            f"The TFLite quantizer cannot store these weights as float16: {first_line(error)}",
            "Use recipe fp32 for this format.",
        ) from error


# -- Channels last ---------------------------------------------------------------------------------


def _channels_last(spec: TensorSpec) -> TensorSpec:
    if len(spec.shape) != 4 or spec.layout is not None:
        return spec
    n, c, h, w = spec.shape
    return replace(spec, shape=(n, h, w, c), layout="nhwc")


def _take_channels_last(exported: ExportedProgram, names: Collection[str]) -> ExportedProgram:
    """Let the inputs `names` come as NHWC, and put the transposition to NCHW behind each."""
    import torch

    nodes = {node.name: node for node in exported.graph.find_nodes(op="placeholder")}
    for name in names:
        node = nodes[name]
        value: Any = node.meta["val"]
        with exported.graph.inserting_after(node):
            nchw = exported.graph.call_function(
                torch.ops.aten.permute.default, (node, [0, 3, 1, 2])
            )
        nchw.meta = dict(node.meta)
        node.replace_all_uses_with(nchw, delete_user_cb=lambda user, new=nchw: user is not new)
        node.meta = {**node.meta, "val": value.permute(0, 2, 3, 1).contiguous()}
    positional, named = exported.example_inputs
    exported._example_inputs = (  # noqa: SLF001 - retracing calls the program with them
        positional,
        {k: v.permute(0, 2, 3, 1).contiguous() if k in names else v for k, v in named.items()},
    )
    exported.graph_module.recompile()
    return exported
