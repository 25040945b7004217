"""What a Core ML model takes and gives, from its description and, where there is one, its program.

The description has names, element types and the bounds of flexible shapes; the program has the
shapes of outputs, which converters often leave out of the description.
"""

from __future__ import annotations

from edgekit.errors import ArtifactError
from edgekit.tensors import Dim, DType, Shape, Signature, TensorSpec
from edgekit.wire.mil import DictionaryType, Function, TensorType, ValueType
from edgekit.wire.modelproto import Feature, Interface

_SCALARS = {"int64": DType.INT64, "double": DType.FLOAT64, "string": DType.STRING}


def signature_of(interface: Interface, function: Function | None) -> Signature:
    """Return the inputs and outputs of a function, or of a model without a program.

    An image is an array of the program's shape, (1, channels, height, width), of uint8, or float16
    where its colour space says so.  A dictionary of probabilities is a float32 array in the order
    of the classes.

    Raises:
        ArtifactError: description and program contradict each other.
    """
    if function is None:
        groups = (interface.inputs, interface.outputs)
        return Signature(*(tuple(_alone(found) for found in group) for group in groups))
    types = {item.name: item.type for item in function.inputs}
    declared = {item.name for item in function.inputs if isinstance(item.type, TensorType)}
    for operation in function.block.operations:
        types.update({output.name: output.type for output in operation.outputs})
    inputs = tuple(_spec(found, types.get(found.name)) for found in interface.inputs)
    outputs = tuple(_spec(found, types.get(found.name)) for found in interface.outputs)
    if declared != {spec.name for spec in inputs} or not (
        {spec.name for spec in outputs} <= set(function.block.outputs)
    ):
        raise ArtifactError("The model's description and its program name different features.")
    return Signature(inputs, outputs)


def _spec(feature: Feature, kind: ValueType | None) -> TensorSpec:
    if isinstance(kind, DictionaryType):
        return TensorSpec(feature.name, DType.FLOAT32, (Dim("classes"),))
    if not isinstance(kind, TensorType):
        raise ArtifactError(f"The model describes {feature.name!r}, which its program lacks.")
    bounds = _bounds(feature, len(kind.shape))
    chosen = list(zip(*feature.choices, strict=True))
    shape = tuple(
        dim
        if dim is not None
        else Dim.among(f"{feature.name}_{axis}", chosen[axis])
        if len(chosen) == len(bounds)
        else _dim(feature.name, axis, bound)
        for axis, (dim, bound) in enumerate(zip(kind.shape, bounds, strict=True))
    )
    return TensorSpec(feature.name, _dtype(feature), shape)


def _alone(feature: Feature) -> TensorSpec:
    """Return the spec of a feature of a model without a program."""
    if feature.kind in ("dictionary", "sequence"):
        return TensorSpec(feature.name, DType.FLOAT32, (Dim("classes"),))
    channels = () if feature.kind != "image" else (3 if feature.color in ("rgb", "bgr") else 1,)
    sizes = (*channels, *feature.shape)
    shape: Shape = tuple(
        _dim(feature.name, axis, bound)
        for axis, bound in enumerate(_bounds(feature, len(sizes), sizes))
    )
    return TensorSpec(feature.name, _dtype(feature), shape)


def _dtype(feature: Feature) -> DType:
    if feature.kind == "image":
        return DType.FLOAT16 if feature.color == "grayscale_float16" else DType.UINT8
    if feature.dtype is not None:
        return DType(feature.dtype)
    if feature.kind not in _SCALARS:
        raise ArtifactError(f"The model describes {feature.name!r} as a {feature.kind}.")
    return _SCALARS[feature.kind]


def _bounds(
    feature: Feature, rank: int, sizes: tuple[int, ...] = ()
) -> list[tuple[int, int | None]]:
    """Return the least and the largest size per axis; an image's description has the last two."""
    bounds: list[tuple[int, int | None]] = [(size, size) for size in sizes] or [(1, None)] * rank
    found: list[tuple[int, int | None]] = list(feature.ranges)
    if not found and feature.choices:
        found = [(min(side), max(side)) for side in zip(*feature.choices, strict=True)]
    elif not found and feature.kind != "image":
        found = [(size, size) for size in feature.shape]
    if not found:
        return bounds
    if len(found) > rank or (len(found) != rank and feature.kind != "image"):
        raise ArtifactError(f"The model describes {feature.name!r} with another rank than it has.")
    return [*bounds[: rank - len(found)], *found]


def _dim(name: str, axis: int, bound: tuple[int, int | None]) -> int | Dim:
    low, high = bound
    return low if low == high else Dim(f"{name}_{axis}", low, high)
