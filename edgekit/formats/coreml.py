"""Core ML ML Programs, through ``coremltools``.

A Core ML model takes and gives 32-bit tensors: int64 ones, token inputs among them, become int32,
bool and float16 ones float32; and ones of one to five axes.  The signature says what it was.
Recipe ``fp16`` computes in float16 behind float32 inputs and outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import passes
from edgekit.clock import CONVERTER, timed
from edgekit.errors import ConversionError, LimitError, UnavailableError
from edgekit.formats import Option, Options, mapped, missing, unmade, versions
from edgekit.passes import functionalize
from edgekit.passes.graph import calls
from edgekit.passes.legalization import describe, legalize
from edgekit.passes.rules import rules_for
from edgekit.processing.baking import IMAGE, PIXELS
from edgekit.program import Program
from edgekit.recipe import Precision, Recipe
from edgekit.tensors import Dim, DType, Signature, TensorSpec
from edgekit.wire import ModelSummary

if TYPE_CHECKING:
    import coremltools
    from torch.export import ExportedProgram

SUFFIXES = (".mlpackage", ".mlmodel")
COST = 2
MAX_BYTES = None
OPTIONS = (
    Option(
        "ios",
        "Oldest iOS that must load the Core ML model (15 also means macOS 12, and so on); "
        "15 without the option, 17 for integers.",
        None,
        (15, 16, 17, 18),
    ),
)
_MAPPED = {
    DType.INT64: DType.INT32,
    DType.INT16: DType.INT32,
    DType.INT8: DType.INT32,
    DType.UINT8: DType.INT32,
    DType.BOOL: DType.FLOAT32,
    DType.FLOAT64: DType.FLOAT32,
    DType.FLOAT16: DType.FLOAT32,
    DType.BFLOAT16: DType.FLOAT32,
}
# coremltools imports each of these when it is installed, to convert from it: seconds for nothing.
_UNWANTED = ("tensorflow", "sklearn", "xgboost", "libsvm", "transformers", "lightgbm")
REPRODUCE = """\
import coremltools as ct

model = ct.convert(
    program.run_decompositions({}),
    outputs=[ct.TensorType(name) for name in expected],
    compute_precision=ct.precision.$precision,
)
model.save("model.mlpackage")
outputs = model.predict(inputs)  # on macOS
"""


def unavailable() -> UnavailableError | None:
    """Return why Core ML cannot be converted to here."""
    return missing(("torch", "coremltools"), "Converting to Core ML", "convert,coreml")


def toolchain() -> dict[str, str]:
    """Return the versions of the packages that shape a Core ML model."""
    return versions("torch", "coremltools")


def supports(recipe: Recipe) -> str | None:
    """Return why Core ML cannot make a recipe, or None when it can."""
    return unmade(recipe, _reason_against)


def _reason_against(precision: Precision) -> str | None:
    if precision.activations == "dynamic":
        return "it quantizes activations only in ranges that calibration found"
    if precision.activations == "int16":
        return "it quantizes activations to 8 bits only"
    if (precision.weights, precision.activations) == ("float16", "float32"):
        return "it computes in float16 with float16 weights: set activations to float16"
    return None


def warm_up() -> None:
    """Import coremltools and the operators that it lacks."""
    with _hidden(_UNWANTED):
        from edgekit.formats import _coreml_ops

    _coreml_ops.register()
    rules_for("coreml")


@contextmanager
def _hidden(names: Iterable[str]) -> Iterator[None]:
    """Keep packages from being imported for the time of one block; what is imported stays."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def lower(program: Program, recipe: Recipe, options: Options, destination: Path) -> Signature:
    """Write the program as an ``.mlpackage`` that needs at least the iOS of the option ``ios``."""
    warm_up()
    import coremltools as ct

    from edgekit.formats import _coreml_border, _coreml_ops

    exported = _taking_images(_in_dialect(program), program.signature)
    signature = mapped(program.signature, _MAPPED, _as_image)
    signature = _coreml_border.fit_border(exported, signature)
    exported = _legalized(exported)
    _coreml_ops.prepare(exported)
    outputs = [  # from iOS 16 on, a float16 program would give float16
        ct.TensorType(spec.name, dtype=spec.dtype.numpy().type if spec.dtype.is_float else None)
        for spec in signature.outputs
    ]
    _refuse_many_axes(exported)
    precision = ct.precision.FLOAT32
    if any(each.activations == "float16" for each in recipe.precisions):
        precision = ct.transform.FP16ComputePrecision(
            lambda op: _coreml_ops.precision_of(op, recipe).activations == "float16"
        )
    with timed(CONVERTER):
        model: coremltools.models.MLModel = ct.convert(
            exported,
            outputs=outputs,
            minimum_deployment_target=getattr(
                ct.target, f"iOS{_oldest_ios(program, recipe, options)}"
            ),
            compute_precision=precision,
            pass_pipeline=_pipeline(),
            skip_model_load=True,
        )
    _describe(model, program, signature)
    _list_shapes(model, signature)
    _describe_images(model, signature)
    # save() would add a mapping of debug handles for another product, and fails to on loops.
    model._mil_program = None  # noqa: SLF001
    model.save(str(destination))
    return signature


def _oldest_ios(program: Program, recipe: Recipe, options: Options) -> int:
    """Return the iOS to convert for: the oldest that has what the recipe and the inputs need."""
    asked: int | None = options["ios"]
    lists = [spec for spec in program.signature.inputs if _choices(spec)]
    needed = 15 if program.quantization is None else 16
    reason = "expands weights of fewer bits"
    if recipe.is_static:
        needed, reason = 17, "quantizes activations"
    if any(p.weights == "int4" or p.block_size for p in recipe.precisions):
        needed, reason = 18, "has 4-bit weights and blocks of weights with a scale"
    if asked is not None and asked < needed:
        raise ConversionError(
            f"Core ML {reason} from iOS {needed} on, and --ios {asked} is asked for.",
            "Leave --ios out, or use recipe fp16.",
        )
    return asked or max(needed, 18 if len(lists) > 1 else 15)


def _in_dialect(program: Program) -> ExportedProgram:
    if program.quantization is None:
        return program.exported
    from edgekit.quantize import dialects

    dialects.with_float_recurrence(program.exported)
    return dialects.with_float_biases(program.exported)


def _as_image(spec: TensorSpec) -> TensorSpec:
    """Return a picture as Core ML takes it: channels before rows."""
    if spec.layout != PIXELS:
        return spec
    n, h, w, c = spec.shape
    return TensorSpec(spec.name, DType.UINT8, (n, c, h, w), IMAGE)


def _taking_images(exported: ExportedProgram, signature: Signature) -> ExportedProgram:
    """Let pictures come as (1, C, H, W) in float32, which is what Core ML makes of an image.

    So what baking put first, a permutation and what follows it to the cast, is dropped.
    """
    names = {spec.name for spec in signature.inputs if spec.layout == PIXELS}
    if not names:
        return exported
    graph = exported.graph_module.graph
    for place in [each for each in graph.nodes if each.op == "placeholder" and each.name in names]:
        chain = [place]
        while not chain[-1].meta["val"].is_floating_point():
            (following,) = chain[-1].users
            chain.append(following)
        place.meta["val"] = chain[-1].meta["val"]
        chain[-1].replace_all_uses_with(place)
        for each in reversed(chain[1:]):
            graph.erase_node(each)
    exported.graph_module.recompile()
    return exported


def _describe_images(model: Any, signature: Signature) -> None:
    described = {each.name: each for each in model._spec.description.input}  # noqa: SLF001 - get_spec() copies
    for spec in signature.inputs:
        if spec.layout == IMAGE:
            _, channels, height, width = spec.shape
            image = described[spec.name].type.imageType
            image.height, image.width = height, width
            image.colorSpace = image.GRAYSCALE if channels == 1 else image.RGB


def accepts(operator: Any) -> bool:
    """Whether coremltools converts an ATen overload, by itself or with our help."""
    from coremltools.converters.mil.frontend.torch import torch_op_registry, utils

    kind = utils.sanitize_op_kind(operator.name())
    return kind in torch_op_registry._TORCH_OPS_REGISTRY.name_to_func_mapping  # noqa: SLF001


def _legalized(exported: ExportedProgram) -> ExportedProgram:
    """Return the program in operators that coremltools takes, in the dialect that it asks for."""
    exported = legalize(exported, "coreml", accepts)
    exported = passes.run(exported, ("narrow_integers",))[-1].exported
    if exported.dialect != "ATEN":
        exported = functionalize.in_dialect(exported)
    return exported


def _refuse_many_axes(exported: ExportedProgram) -> None:
    for node in calls(exported):
        rank = getattr(node.meta.get("val"), "ndim", 0)
        if rank > 5:
            raise LimitError(
                f"{describe(node)} gives a tensor of {rank} axes; Core ML knows five.",
                "Join axes in the model that the operator treats alike, with reshape.",
            )


def summarize(path: Path) -> ModelSummary:
    """Read what a Core ML model holds."""
    from edgekit.wire import mlprogram

    return mlprogram.summarize(path)


def _pipeline() -> Any:
    """Return coremltools' passes without the one that multiplies by the inverse of a divisor.

    6 is a float16 and 1/6 is not: it would scale every hard sigmoid by the same 1 - 2.4e-4, which
    adds up over a deep network.
    """
    import coremltools as ct

    pipeline = ct.PassPipeline()
    pipeline.remove_passes({"common::divide_to_multiply"})
    return pipeline


def _choices(spec: TensorSpec) -> list[list[int]]:
    """Return the shapes of an input that takes a list of sizes, the default first."""
    lists = [dim.sizes for dim in spec.shape if isinstance(dim, Dim) and dim.sizes]
    return [
        [dim if isinstance(dim, int) else dim.sizes[turn] for dim in spec.shape]
        for turn in reversed(range(max(map(len, lists), default=0)))
    ]


def _list_shapes(model: Any, signature: Signature) -> None:
    """Describe such inputs by their shapes: Core ML prepares for each, which a range forbids."""
    described = {each.name: each for each in model._spec.description.input}  # noqa: SLF001 - get_spec() copies
    for spec in signature.inputs:
        shapes = _choices(spec)
        if not shapes:
            continue
        array = described[spec.name].type.multiArrayType
        array.ClearField("ShapeFlexibility")
        array.shape[:] = shapes[0]
        for shape in shapes:
            array.enumeratedShapes.shapes.add().shape.extend(shape)


def _describe(model: Any, program: Program, signature: Signature) -> None:
    """Set the metadata and check that names and order came through."""
    metadata = program.metadata
    model.short_description = metadata.description or metadata.name
    model.author, model.license, model.version = metadata.author, metadata.license, metadata.version
    if metadata.labels:
        model.user_defined_metadata["labels"] = "\n".join(metadata.labels)
    # Equal inputs give equal files, whatever the day.
    model.user_defined_metadata.pop("com.github.apple.coremltools.conversion_date", None)
    description = model.get_spec().description
    for side, specs in (("input", signature.inputs), ("output", signature.outputs)):
        found = [feature.name for feature in getattr(description, side)]
        if found != [spec.name for spec in specs]:
            raise ConversionError(
                f"Core ML renamed the {side}s to {', '.join(found)}.",
                f"Rename them in the model: {', '.join(s.name for s in specs)} cannot be kept.",
            )
