"""What a Core ML model file says about itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgekit.tensors import Dim, DType, Shape, Signature, TensorSpec
from edgekit.wire import ModelSummary, by_size, reading
from edgekit.wire.mlprogram import Feature, ModelFile, operations, read_model, weight_bytes

_SYSTEMS = {6: "iOS 15", 7: "iOS 16", 8: "iOS 17", 9: "iOS 18"}
_DTYPES = {"double": DType.FLOAT64, "image": DType.UINT8, "int64": DType.INT64}
_CONSTANT = "const"


def summarize(path: Path) -> ModelSummary:
    """Read the interface, operations and weights of an ``.mlpackage`` or ``.mlmodel``.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    with reading(path, "Core ML"):
        model = read_model(path)
        ops = (
            Counter(each.type for each in operations(model.program)) if model.program else Counter()
        )
        weights = weight_bytes(model.program) if model.program else {}
    return ModelSummary(
        signature=Signature(
            tuple(map(_spec, model.interface.inputs)), tuple(map(_spec, model.interface.outputs))
        ),
        ops=by_size(Counter({name: count for name, count in ops.items() if name != _CONSTANT})),
        parameter_bytes=by_size(Counter(weights)),
        metadata=dict(model.metadata),
        details=_details(model),
        notes=() if model.program else (f"{model.kind} is no ML Program: its layers are not read",),
    )


def _details(model: ModelFile) -> dict[str, str]:
    states = ", ".join(f"{each.name} {list(each.shape)}" for each in model.interface.states)
    needs = _SYSTEMS.get(model.spec_version, "iOS 14 or older")
    return {
        "kind": model.kind,
        "specification": f"{model.spec_version} (needs {needs})",
        "functions": ", ".join(model.interfaces) if len(model.interfaces) > 1 else "",
        "states": states,
    }


def _spec(feature: Feature) -> TensorSpec:
    dtype = DType(feature.dtype) if feature.dtype else _DTYPES.get(feature.kind, DType.STRING)
    return TensorSpec(feature.name, dtype, _shape(feature))


def _shape(feature: Feature) -> Shape:
    """Return the shape; where several are possible, each varying dimension as its range."""
    sides: list[tuple[int, int | None]] = [(size, size) for size in feature.shape]
    if feature.ranges:
        sides = list(feature.ranges)
    elif feature.choices:
        columns = zip(*feature.choices, strict=True)
        sides = [(min(column), max(column)) for column in map(tuple, columns)]
    return tuple(
        low if low == high else Dim(f"{feature.name}_dim{axis}", low, high)
        for axis, (low, high) in enumerate(sides)
    )
