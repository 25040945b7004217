"""What the Java wrapper's template speaks of: fields, types and calls as Java."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.packages import Cargo
from edgekit.packages._names import camel
from edgekit.packages._selfcheck import word_file
from edgekit.packages._templates import java, quoted
from edgekit.processing.schema import Step

_ARGUMENTS = {
    "image": ("Picture", "a picture of any size that its steps take"),
    "log_mel": ("float[]", "sound, samples in -1..1 at {sample_rate} Hz"),
    "tokens": ("String", "text"),
    "tensor": ("float[]", "numbers of shape {shape}, row by row"),
}
_RESULTS = {
    "classes": ("List<Scored>", "Classes and their scores, the highest first."),
    "class_map": ("byte[]", "The class of each pixel, row by row."),
    "boxes": ("List<Box>", "Objects, the surest first."),
    "values": ("float[]", "The output {output}."),
}
_ARGUMENT_BREAK = ",\n                        "
_SCALE = ("divide_by", "mean", "std")
_CALLS = {
    "image": (
        'feeds.put({input}, Pictures.image(\n                        {argument}, {rest}));',
        ("dtype", "shape", "layout", "channels", "resize", "size", "crop", "interpolation", "fill",
         *_SCALE),
    ),
    "log_mel": (
        'feeds.put({input}, Sounds.logMel(\n                        {argument}, {rest}));',
        ("dtype", "shape", "sample_rate", "samples", "frame", "hop", "fft", "window", "spectrum",
         "spectrum_divide_by", "mels", "low_hz", "high_hz", "mel_norm", "log", "floor", "offset",
         "clip", "round", "layout", *_SCALE),
    ),
    "tokens": (
        "feeds.putAll(Texts.tokens(\n                        {argument}, {rest}));",
        ("ids", "mask", "vocabulary", "length", "lower", "tokenizer", "padding", "unknown", "begin",
         "end", "dtype", "mask_dtype"),
    ),
    "tensor": (
        'feeds.put({input}, Results.tensor(\n                        {argument}, {rest}));',
        ("dtype", "shape", *_SCALE),
    ),
}  # fmt: skip
_DOUBLES = frozenset(
    ("divide_by", "mean", "std", "fill", "spectrum_divide_by", "low_hz", "high_hz", "floor",
     "offset", "clip", "threshold", "iou")
)  # fmt: skip


def wrapper_values(cargoes: Sequence[Cargo], engines: Mapping[str, str]) -> dict[str, Any]:
    """Return all that the template of the wrapper names, but its package.

    Args:
        cargoes: The variants.
        engines: The class that runs each format.
    """
    variants = [_variant(cargo, engines[cargo.artifact.format]) for cargo in cargoes]
    return {
        "card": cargoes[0].card,
        "variants": variants,
        "before": variants[0]["before"],
        "after": variants[0]["after"],
        "pictures": any(step.kind == "image" for step in cargoes[0].bound.before),
    }


def _variant(cargo: Cargo, engine: str) -> dict[str, Any]:
    return {
        "constant": cargo.variant.upper(),
        "suffix": "".join(part.capitalize() for part in cargo.variant.split("_")),
        "socs": cargo.socs,
        "engine": engine,
        "folder": cargo.folder,
        "model": cargo.artifact.path.name,
        "before": [_argument(step) for step in cargo.bound.before],
        "after": [_result(step) for step in cargo.bound.after],
        "samples": [_sample(entry) for entry in cargo.selfcheck.table],
        "outputs": cargo.bound.signature.outputs,
    }


JAVA_NAMES = frozenset(
    """
    abstract assert boolean break byte case catch char class const continue default do double else
    enum extends final finally float for goto if implements import instanceof int interface long
    native new package private protected public return short static strictfp super switch
    synchronized this throw throws transient try void volatile while true false null
    assets engine check feeds outputs prediction variant
    """.split()  # noqa: SIM905
)


def argument_doc(step: Step) -> str:
    """Return what an argument of the app's call is."""
    return _ARGUMENTS[step.kind][1].format(**step.options)


def result_doc(step: Step) -> str:
    """Return what a result is."""
    return _RESULTS[step.kind][1].format(**step.options)


def _argument(step: Step) -> dict[str, Any]:
    kind, _ = _ARGUMENTS[step.kind]
    field = camel(step.name, JAVA_NAMES)
    form, keys = _CALLS[step.kind]
    given = {
        key: java(step.options[key], exact=key in _DOUBLES) for key in keys if key != "vocabulary"
    }
    given["vocabulary"] = f"{field}Words"
    call = form.format(
        input=quoted(step.options.get("input", "")),
        argument=field,
        rest=_ARGUMENT_BREAK.join(given[key] for key in keys),
    )
    return {
        "name": step.name, "kind": step.kind, "field": field, "type": kind,
        "parameter": f"{kind} {field}", "doc": argument_doc(step),
        "file": word_file(step), "call": call,
    }  # fmt: skip


def _result(step: Step) -> dict[str, Any]:
    kind, _ = _RESULTS[step.kind]
    field = camel(step.name, JAVA_NAMES)
    return {
        "name": step.name, "kind": step.kind, "field": field, "type": kind,
        "parameter": f"{kind} {field}", "doc": result_doc(step),
        "labels": step.options.get("labels"),
        "call": _RESULT_CALLS[step.kind](step.options, step.name),
    }  # fmt: skip


def _output(name: str) -> str:
    return f"outputs.get({quoted(name)})"


def _classes(options: Mapping[str, Any], name: str) -> str:
    most = options["top_k"] or "Integer.MAX_VALUE"
    least = options["threshold"]
    least = "Double.NEGATIVE_INFINITY" if least is None else java(least, exact=True)
    labels = f"{name.upper()}_LABELS"
    activation = quoted(options["activation"])
    return f"Results.classes({_output(options['output'])}, {activation}, {labels}, {most}, {least})"


def _class_map(options: Mapping[str, Any], _name: str) -> str:
    return f"Results.classMap({_output(options['output'])}, {options['axis']})"


def _boxes(options: Mapping[str, Any], name: str) -> str:
    return (
        f"Results.boxes({_output(options['corners'])}, {_output(options['scores'])}, "
        f"{quoted(options['format'])}, {quoted(options['activation'])}, {name.upper()}_LABELS, "
        f"{java(options['threshold'], exact=True)}, {java(options['iou'], exact=True)}, "
        f"{options['top_k']})"
    )


def _values(options: Mapping[str, Any], _name: str) -> str:
    return f"Results.values({_output(options['output'])}, {java(options['normalize'])})"


_RESULT_CALLS = {
    "classes": _classes,
    "class_map": _class_map,
    "boxes": _boxes,
    "values": _values,
}


def _sample(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return one recorded sample with its arguments and numbers as Java."""
    return {
        "arguments": [_recorded(each) for each in entry["arguments"]],
        "inputs": [_probe(each) for each in entry["inputs"]],
        "outputs": [_probe(each) for each in entry["outputs"]],
        "best": [(camel(name, JAVA_NAMES), index) for name, index in entry["best"].items()],
    }


def _recorded(argument: Mapping[str, Any]) -> str:
    offset, count = argument["offset"], argument["bytes"]
    if argument["dtype"] == "text":
        return f"check.text({offset}, {count})"
    if argument["dtype"] == "uint8":
        return f"check.picture({offset}, {', '.join(map(str, argument['shape']))})"
    if argument["dtype"] == "int64":
        return f"check.longs({offset}, {count // 8})"
    return f"check.floats({offset}, {count // 4})"


def _probe(probe: Mapping[str, Any]) -> dict[str, Any]:
    return {**probe, "bound": java(probe["bound"], exact=True)}
