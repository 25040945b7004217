"""What the Swift wrapper's template speaks of: fields, types and calls as Swift."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from edgekit.errors import UsageError
from edgekit.packages import Cargo
from edgekit.packages._names import camel
from edgekit.packages._selfcheck import word_file
from edgekit.packages._templates import quoted
from edgekit.processing.baking import IMAGE
from edgekit.processing.binding import tensors_of
from edgekit.processing.schema import Step
from edgekit.tensors import DType, TensorSpec

_ARGUMENTS = {
    "image": ("Picture", "A picture of any size that its steps take."),
    "log_mel": ("[Float]", "Sound, samples in -1..1 at {sample_rate} Hz."),
    "tokens": ("String", "Text."),
    "tensor": ("[Float]", "Numbers of shape {shape}, row by row."),
}
_RESULTS = {
    "classes": ("[Scored]", "Classes and their scores, the highest first."),
    "class_map": ("[UInt8]", "The class of each pixel, row by row."),
    "boxes": ("[Box]", "Objects, the surest first."),
    "values": ("[Float]", "The output {output}."),
}
_FUNCTIONS = {
    "image": "try Pictures.image",
    "log_mel": "Sounds.logMel",
    "tensor": "try Results.tensor",
    "classes": "Results.classes",
    "class_map": "Results.classMap",
    "boxes": "Results.boxes",
    "values": "Results.values",
}
_NOT_PASSED = frozenset(
    ("input", "ids", "mask", "output", "corners", "scores", "dtype", "mask_dtype")
)
_TYPES = {DType.FLOAT32: "float32", DType.INT32: "int32", DType.FLOAT64: "double"}
_KEYWORDS = frozenset(
    """
    as associatedtype break case catch class continue default defer deinit do else enum extension
    false fileprivate for func guard if import in init inout internal is let nil operator private
    protocol public repeat rethrows return self static struct subscript super switch throw throws
    true try typealias var where while model feeds outputs prediction check
    """.split()  # noqa: SIM905
)


def wrapper_values(cargo: Cargo) -> dict[str, Any]:
    """Return all that the template of the wrapper names."""
    inputs = cargo.bound.signature.inputs
    images = {spec.name for spec in inputs if spec.layout == IMAGE}
    types = {spec.name: _array_type(spec) for spec in inputs}
    read = list(dict.fromkeys(name for step in cargo.bound.after for name in tensors_of(step)))
    return {
        "card": cargo.card,
        "stem": cargo.artifact.path.stem,
        "before": [_argument(step, types) for step in cargo.bound.before],
        "after": [_result(step, read) for step in cargo.bound.after],
        "read": read,
        "pictures": any(step.kind == "image" for step in cargo.bound.before),
        "samples": [_sample(entry, images) for entry in cargo.selfcheck.table],
    }


def swift(value: Any) -> str:
    """Return a value as Swift."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(swift, value))}]"
    return repr(value)


def _array_type(spec: TensorSpec) -> str:
    """Return the case of MLMultiArrayDataType; nothing for an image."""
    if spec.layout == IMAGE:
        return ""
    if spec.dtype not in _TYPES:
        raise UsageError(f"An input of {spec.dtype.value} has no place in a Swift wrapper.")
    return _TYPES[spec.dtype]


def _passed(step: Step, field: str) -> str:
    """Return a step's options as labelled arguments."""
    given = {key: value for key, value in step.options.items() if key not in _NOT_PASSED}
    if step.kind == "class_map":
        given.pop("labels")
    order = _ORDERS.get(step.kind, list(given))
    named = {"labels": f"Self.{field}Labels", "vocabulary": f"{field}Words"}
    return ", ".join(
        f"{camel(key, frozenset())}: {named.get(key) or swift(given[key])}" for key in order
    )


_SCALE = ["divide_by", "mean", "std"]
_ORDERS = {
    "image": ["shape", "layout", "channels", "resize", "size", "crop", "interpolation", "fill",
              *_SCALE],
    "log_mel": ["shape", "sample_rate", "samples", "frame", "hop", "fft", "window", "spectrum",
                "spectrum_divide_by", "mels", "low_hz", "high_hz", "mel_norm", "log", "floor",
                "offset", "clip", "round", "layout", *_SCALE],
    "tokens": ["vocabulary", "length", "lower", "tokenizer", "padding", "unknown", "begin", "end"],
    "tensor": ["shape", *_SCALE],
    "classes": ["activation", "labels", "top_k", "threshold"],
    "class_map": ["axis"],
    "boxes": ["format", "activation", "labels", "threshold", "iou", "top_k"],
    "values": ["normalize"],
}  # fmt: skip


def _argument(step: Step, types: Mapping[str, str]) -> dict[str, Any]:
    kind, doc = _ARGUMENTS[step.kind]
    field = camel(step.name, _KEYWORDS)
    return {
        "kind": step.kind,
        "field": field,
        "parameter": f"{field}: {kind}",
        "passed": f"{field}: {field}",
        "doc": doc.format(**step.options),
        "file": word_file(step),
        "lines": _prepared(step, field, types),
    }


def _prepared(step: Step, field: str, types: Mapping[str, str]) -> list[str]:
    """Return the statements that put a step's inputs into `feeds`."""

    def fed(name: str, tensor: str) -> str:
        if not types[name]:
            buffer = f"{tensor}.pixelBuffer()"
            return f"feeds[{quoted(name)}] = MLFeatureValue(pixelBuffer: try {buffer})"
        array = f"{tensor}.array(.{types[name]})"
        return f"feeds[{quoted(name)}] = MLFeatureValue(multiArray: try {array})"

    if step.kind != "tokens":
        call = f"{_FUNCTIONS[step.kind]}({field}, {_passed(step, field)})"
        return [f"let {field}Tensor = {call}", fed(step.options["input"], f"{field}Tensor")]
    lines = [f"let {field}Tokens = Texts.tokens({field}, {_passed(step, field)})"]
    lines.append(fed(step.options["ids"], f"{field}Tokens.ids"))
    if step.options["mask"] is not None:
        lines.append(fed(step.options["mask"], f"{field}Tokens.mask"))
    return lines


def _result(step: Step, read: list[str]) -> dict[str, Any]:
    kind, doc = _RESULTS[step.kind]
    field = camel(step.name, _KEYWORDS)
    outputs = ", ".join(f"output{read.index(name)}" for name in tensors_of(step))
    return {
        "field": field,
        "type": kind,
        "doc": doc.format(**step.options),
        "labels": step.options.get("labels"),
        "call": f"{_FUNCTIONS[step.kind]}({outputs}, {_passed(step, field)})",
    }


def _sample(entry: Mapping[str, Any], images: AbstractSet[str]) -> dict[str, Any]:
    """Return one recorded sample as Swift; images are checked by what comes of them."""
    return {
        **entry,
        "inputs": [probe for probe in entry["inputs"] if probe["name"] not in images],
        "arguments": [
            f"{camel(each['name'], _KEYWORDS)}: {_recorded(each)}" for each in entry["arguments"]
        ],
        "best": [(camel(name, _KEYWORDS), index) for name, index in entry["best"].items()],
    }


def _recorded(argument: Mapping[str, Any]) -> str:
    offset, count = argument["offset"], argument["bytes"]
    if argument["dtype"] == "text":
        return f"check.text({offset}, {count})"
    if argument["dtype"] == "uint8":
        return f"try check.picture({offset}, {', '.join(map(str, argument['shape']))})"
    if argument["dtype"] == "int64":
        return f"check.longs({offset}, {count // 8})"
    return f"check.floats({offset}, {count // 4})"
