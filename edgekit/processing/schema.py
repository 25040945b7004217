"""What `[preprocess]` and `[postprocess]` may say: kinds of steps, their keys, and their checks.

A section is one step: ``[preprocess.<argument>]`` turns an argument of the app's call into inputs
of the model, ``[postprocess.<result>]`` turns outputs into a result.  The keys of a kind are
keyword arguments of the function of that name in `edgekit.processing.reference`, where each is
explained; what the artifact itself tells (element types, shapes) is not declared.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.errors import UnknownNameError, UsageError
from edgekit.processing.checks import (
    Check,
    flag,
    labels,
    limits,
    not_negative,
    number,
    one_of,
    optional,
    positive,
    size,
    some,
    text,
    whole,
)


@dataclass(frozen=True)
class Step:
    """One step of processing.

    Attributes:
        name: Of the app's argument or result.
        kind: Of the step, the name of a function of the reference.
        options: All keys of the kind, defaults filled in.
    """

    name: str
    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Processing:
    """The steps around a model.

    Attributes:
        before: One step for each argument that is not an input of the model as it is.
        after: One step for each result.
        folder: Where the files lie that steps name.
        where: The file that declares them, for messages.
        labels: Names of the classes, for steps that declare none.
    """

    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    folder: Path = Path()
    where: str = ""
    labels: tuple[str, ...] = ()


class _Missing:
    """Stands for the default of a key that has none, or one that the step's name gives."""


REQUIRED, STEP_NAME = _Missing(), _Missing()

Fields = Mapping[str, tuple[Check, Any]]
"""Check and default of each key."""

_SCALING: Fields = {
    "divide_by": (positive, 1.0),
    "mean": (some(number), (0.0,)),
    "std": (some(positive), (1.0,)),
}
_ACTIVATION = one_of("softmax", "sigmoid", "none")

BEFORE: Mapping[str, Fields] = {
    "image": {
        "input": (text, STEP_NAME),
        "layout": (one_of("nchw", "nhwc"), "nchw"),
        "channels": (one_of("rgb", "bgr", "gray"), "rgb"),
        "resize": (one_of("none", "stretch", "shorter", "letterbox"), "none"),
        "size": (optional(size), None),
        "crop": (optional(size), None),
        "interpolation": (one_of("antialias", "bilinear", "area", "nearest"), "antialias"),
        "fill": (not_negative, 0.0),
        **_SCALING,
    },
    "log_mel": {
        "input": (text, STEP_NAME),
        "sample_rate": (whole(1), REQUIRED),
        "samples": (whole(1), REQUIRED),
        "frame": (whole(2), REQUIRED),
        "hop": (whole(1), REQUIRED),
        "fft": (whole(2), REQUIRED),
        "window": (one_of("hann", "hann_periodic", "none"), "hann_periodic"),
        "spectrum": (one_of("power", "magnitude"), "power"),
        "spectrum_divide_by": (positive, 1.0),
        "mels": (whole(1), REQUIRED),
        "low_hz": (not_negative, 0.0),
        "high_hz": (positive, REQUIRED),
        "mel_norm": (one_of("sum", "none"), "none"),
        "log": (one_of("db", "ln", "none"), "ln"),
        "floor": (positive, 1e-10),
        "offset": (number, 0.0),
        "clip": (optional(limits), None),
        "round": (flag, False),
        "layout": (one_of("mel_time", "time_mel"), "mel_time"),
        **_SCALING,
    },
    "tokens": {
        "ids": (text, STEP_NAME),
        "mask": (optional(text), None),
        "vocabulary": (text, REQUIRED),
        "length": (whole(1), REQUIRED),
        "lower": (flag, True),
        "tokenizer": (one_of("words", "wordpiece"), "words"),
        "padding": (text, "<pad>"),
        "unknown": (text, "<unk>"),
        "begin": (optional(text), None),
        "end": (optional(text), None),
    },
    "tensor": {"input": (text, STEP_NAME), **_SCALING},
}

AFTER: Mapping[str, Fields] = {
    "classes": {
        "output": (text, STEP_NAME),
        "activation": (_ACTIVATION, "softmax"),
        "labels": (optional(labels), None),
        "top_k": (optional(whole(1)), None),
        "threshold": (optional(number), None),
    },
    "class_map": {
        "output": (text, STEP_NAME),
        "labels": (optional(labels), None),
    },
    "boxes": {
        "corners": (text, REQUIRED),
        "scores": (text, REQUIRED),
        "format": (one_of("xyxy", "xywh", "cxcywh"), "xyxy"),
        "activation": (one_of("sigmoid", "none"), "none"),
        "labels": (optional(labels), None),
        "threshold": (number, 0.25),
        "iou": (not_negative, 0.45),
        "top_k": (whole(1), 100),
    },
    "values": {"output": (text, STEP_NAME), "normalize": (flag, False)},
}

SECTIONS = {"preprocess": BEFORE, "postprocess": AFTER}


def read(declared: Mapping[str, Any], folder: Path, where: str) -> Processing:
    """Check what was declared and fill in the defaults.

    Args:
        declared: ``{"preprocess": {name: {...}}, "postprocess": {name: {...}}}``; either may lack.
        folder: Where the files lie that steps name.
        where: The file that declares it, for messages.

    Raises:
        UsageError: a section, step, key or value is not right; says which.
    """
    for section in declared:
        if section not in SECTIONS:
            raise UsageError(
                f"{where}: there is no section [{section}].", f"Known: {', '.join(SECTIONS)}."
            )
    before, after = (
        tuple(
            _step(f"{where}: [{section}.{name}]", str(name), table, kinds)
            for name, table in _table(declared.get(section, {}), f"{where}: [{section}]").items()
        )
        for section, kinds in SECTIONS.items()
    )
    return Processing(before, after, folder, where)


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is not a table.", "Write one table for each step.")
    return value


def _step(where: str, name: str, table: Any, kinds: Mapping[str, Fields]) -> Step:
    given = dict(_table(table, where))
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise UsageError(
            f"{where}: the name of a step becomes a name in code.",
            "Use lower-case letters, digits and underscores.",
        )
    if "kind" not in given:
        raise UsageError(f"{where} has no kind.", f"Known: {', '.join(kinds)}.")
    try:
        kind = registry.match(str(given.pop("kind")), kinds, "kind of step")
    except UnknownNameError as error:
        raise UsageError(f"{where}: {error.message}", error.hint) from None
    for key in given:
        if key not in kinds[kind]:
            raise UsageError(f"{where} has an unknown key {key!r}.", _nearest(key, kinds[kind]))
    options = {
        key: _value(
            f"{where} {key}", given.get(key, name if default is STEP_NAME else default), check
        )
        for key, (check, default) in kinds[kind].items()
    }
    _check_together(where, kind, options)
    return Step(name, kind, options)


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def _value(where: str, value: Any, check: Check) -> Any:
    if value is REQUIRED:
        raise UsageError(f"{where} is missing.", "This kind of step cannot do without it.")
    try:
        return check(value)
    except ValueError as error:
        raise UsageError(f"{where} {error}, not {value!r}.") from None


def _check_together(where: str, kind: str, options: Mapping[str, Any]) -> None:
    """Check what depends on several keys."""
    wrong = ""
    if kind == "image" and (options["resize"] == "none") != (options["size"] is None):
        wrong = "needs both resize and size, or neither"
    if kind == "log_mel":
        if not options["frame"] <= min(options["fft"], options["samples"]):
            wrong = "has frames that are longer than its fft or its sound"
        if not options["low_hz"] < options["high_hz"] <= options["sample_rate"] / 2:
            wrong = "needs low_hz < high_hz <= sample_rate / 2"
        if len(options["mean"]) + len(options["std"]) > 2:
            wrong = "takes one mean and one std"
    if wrong:
        raise UsageError(f"{where} {wrong}.")
