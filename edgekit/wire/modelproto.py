"""Decodes the description that any Core ML model file carries: what goes in, out, and between.

Field numbers are those of coremltools' ``mlmodel/format/Model.proto`` and ``FeatureTypes.proto``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edgekit.errors import ArtifactError
from edgekit.wire.protobuf import Message

_FEATURES = {
    1: "int64", 2: "double", 3: "string", 4: "image", 5: "multiArray", 6: "dictionary",
    7: "sequence", 8: "state",
}  # fmt: skip
_ARRAY_TYPES = {
    65552: "float16", 65568: "float32", 65600: "float64", 131080: "int8", 131104: "int32",
}  # fmt: skip
_COLORS = {10: "grayscale", 20: "rgb", 30: "bgr", 40: "grayscale_float16"}


@dataclass(frozen=True)
class Feature:
    """An input, output or state, as the model's description declares it.

    Attributes:
        name: As the program spells it.
        kind: ``"multiArray"``, ``"image"``, ``"state"``, ``"string"``, ``"dictionary"``, ...
        dtype: Element type of an array or state; None for other kinds.
        shape: Default shape; an image's is (height, width).
        choices: All shapes, when they are enumerated.
        ranges: Per axis (lowest, highest or None), when shapes are ranges.
        color: Colour space of an image.
        optional: Whether an input may be left out.
        default: What an optional input is filled with.
    """

    name: str
    kind: str
    dtype: str | None = None
    shape: tuple[int, ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    color: str | None = None
    optional: bool = False
    default: float = 0.0


@dataclass(frozen=True)
class Interface:
    """What one function of a model takes, gives and remembers."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...]


def interfaces(description: Message) -> tuple[dict[str, Interface], str]:
    """Decode a ``ModelDescription``: interfaces by function, and the default function's name."""
    found = {entry.text(1): _interface(entry, (2, 3, 6)) for entry in description.messages(20)} or {
        "main": _interface(description, (1, 10, 13))
    }
    default = description.text(21) or ("main" if "main" in found else next(iter(found)))
    if default not in found:
        raise ArtifactError(f"The model's default function {default!r} is not described.")
    return found, default


def _interface(message: Message, fields: tuple[int, int, int]) -> Interface:
    groups = [tuple(_feature(entry) for entry in message.messages(field)) for field in fields]
    return Interface(*groups)


def _feature(message: Message) -> Feature:
    name, kind = message.text(1), message.message(3)
    number = next((number for number in _FEATURES if number in kind), None)
    if number is None:
        raise ArtifactError(f"The model describes {name!r} with an unknown type.")
    found, optional = kind.message(number), bool(kind.integer(1000))
    if number == 8:
        found = found.message(1)
    if number in (5, 8):
        return _array_feature(name, _FEATURES[number], found, optional=optional)
    if number == 4:
        return _image_feature(name, found, optional=optional)
    return Feature(name, _FEATURES[number], optional=optional)


def _array_feature(name: str, kind: str, message: Message, *, optional: bool) -> Feature:
    dtype = _ARRAY_TYPES.get(message.integer(2))
    if dtype is None:
        raise ArtifactError(f"The model describes {name!r} with an unknown element type.")
    return Feature(
        name,
        kind,
        dtype,
        tuple(message.integers(1)),
        tuple(tuple(item.integers(1)) for item in message.message(21).messages(1)),
        tuple(_range(item) for item in message.message(31).messages(1)),
        optional=optional,
        default=message.integer(41) or _default(message),
    )


def _default(message: Message) -> float:
    try:
        return message.float32(51) or message.float64(61)
    except struct.error:
        raise ArtifactError("The model's description holds a number of the wrong width.") from None


def _image_feature(name: str, message: Message, *, optional: bool) -> Feature:
    limits = message.message(31)
    sizes = message.message(21).messages(1)
    return Feature(
        name,
        "image",
        shape=(message.integer(2), message.integer(1)),
        choices=tuple((item.integer(2), item.integer(1)) for item in sizes),
        ranges=(_range(limits.message(2)), _range(limits.message(1))) if 31 in message else (),
        color=_COLORS.get(message.integer(3), "unknown"),
        optional=optional,
    )


def _range(message: Message) -> tuple[int, int | None]:
    high = message.integer(2)
    return message.integer(1), None if high < 0 else high


def metadata(description: Message) -> dict[str, str]:
    """Return the metadata of a ``ModelDescription``, user-defined entries included."""
    found = description.message(100)
    fixed = {"shortDescription": 1, "versionString": 2, "author": 3, "license": 4}
    named = {name: text for name, number in fixed.items() if (text := found.text(number))}
    return named | {entry.text(1): entry.text(2) for entry in found.messages(100)}
