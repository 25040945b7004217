"""Fit declared processing to an artifact, and compute it with the reference.

Binding settles what only the artifact knows: element types, shapes, where its channels are, its
labels.  An input that no step fills becomes an argument of the app's call as it is, and an output
that no step reads a result of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import UsageError
from edgekit.processing import reference
from edgekit.processing.baking import BAKED, IMAGE, PIXELS
from edgekit.processing.schema import AFTER, BEFORE, STEP_NAME, Processing, Step
from edgekit.runtimes import Array, Arrays
from edgekit.tensors import Dim, DType, Signature, TensorSpec


@dataclass(frozen=True)
class _Border:
    """One side of a model: its tensors by name, and what is known around it."""

    specs: Mapping[str, TensorSpec]
    processing: Processing
    labels: Sequence[str]


@dataclass(frozen=True)
class Bound:
    """Processing that fits one artifact: every step has all arguments of its reference function."""

    before: tuple[Step, ...]
    after: tuple[Step, ...]
    signature: Signature

    def to_json(self) -> dict[str, Any]:
        """Return plain data; of a vocabulary, its size and the sha256 of its lines."""
        return {"preprocess": _plain_steps(self.before), "postprocess": _plain_steps(self.after)}


def bind(processing: Processing, signature: Signature, labels: Sequence[str] = ()) -> Bound:
    """Fit processing to the signature of an artifact.

    Args:
        processing: What was declared.
        signature: Inputs and outputs of the artifact.
        labels: Class names that the artifact holds, for steps that declare none.

    Raises:
        UsageError: a step names no input or output of the artifact, or does not fit it.
    """
    inputs = {spec.name: spec for spec in signature.inputs}
    outputs = {spec.name: spec for spec in signature.outputs}
    filled = _named(processing, processing.before, inputs, "input", once=True)
    read = _named(processing, processing.after, outputs, "output", once=False)
    before = (
        *processing.before,
        *(_plain("tensor", name) for name in inputs if name not in filled),
    )
    after = (*processing.after, *(_plain("values", name) for name in outputs if name not in read))
    return Bound(
        tuple(_BINDERS[step.kind](step, _Border(inputs, processing, labels)) for step in before),
        tuple(_BINDERS[step.kind](step, _Border(outputs, processing, labels)) for step in after),
        signature,
    )


def prepare(bound: Bound, arguments: Mapping[str, Any]) -> Arrays:
    """Return the model's inputs for the arguments of an app's call.

    Raises:
        UsageError: an argument is missing, or not of its step's shape.
    """
    feeds: Arrays = {}
    for step in bound.before:
        if step.name not in arguments:
            raise UsageError(f"The argument {step.name!r} is missing.")
        try:
            feeds |= getattr(reference, step.kind)(arguments[step.name], **step.options)
        except ValueError as error:
            raise UsageError(f"{step.name}: {error}") from error
    return feeds


def finish(bound: Bound, outputs: Mapping[str, Array]) -> dict[str, Any]:
    """Return the app's results for the model's outputs."""
    return {
        step.name: getattr(reference, step.kind)(outputs, **step.options) for step in bound.after
    }


def tensors_of(step: Step) -> list[str]:
    """Return the inputs that a step fills, or the outputs that it reads."""
    keys = ("input", "ids", "mask", "output", "corners", "scores")
    return [step.options[key] for key in keys if step.options.get(key) is not None]


def _named(
    processing: Processing,
    steps: Iterable[Step],
    specs: Mapping[str, TensorSpec],
    what: str,
    *,
    once: bool,
) -> set[str]:
    """Return the tensors that the steps name, all of which exist."""
    seen: set[str] = set()
    for step in steps:
        for name in tensors_of(step):
            if name not in specs:
                raise UsageError(
                    f"{processing.where}: {step.name!r} names {name!r}, and the model has no such "
                    f"{what}.",
                    f"Its {what}s: {', '.join(map(str, specs.values()))}.",
                )
            if specs[name].scale is not None:
                raise UsageError(
                    f"{processing.where}: {step.name!r} is for floats, and the {what} {name!r} of "
                    f"this artifact is {specs[name].dtype.value}.",
                    "Package one that was converted without --io, or declare no processing: the "
                    "manifest has scale and zero_point of each tensor.",
                )
            if once and name in seen:
                raise UsageError(f"{processing.where}: two steps fill the input {name!r}.")
            seen.add(name)
    return seen


def _plain(kind: str, name: str) -> Step:
    """Return the step that passes a tensor on as it is."""
    fields = {**BEFORE, **AFTER}[kind]
    options = {
        key: name if default is STEP_NAME else default for key, (_, default) in fields.items()
    }
    return Step(name, kind, options)


def _plain_steps(steps: Iterable[Step]) -> dict[str, Any]:
    return {
        step.name: {"kind": step.kind}
        | {key: _summary(key, value) for key, value in step.options.items()}
        for step in steps
    }


def _summary(key: str, value: Any) -> Any:
    if key != "vocabulary":
        return list(value) if isinstance(value, tuple) else value
    lines = "".join(f"{word}\n" for word in value).encode()
    return {"words": len(value), "sha256": hashlib.sha256(lines).hexdigest()}


# -- One function for each kind of step ------------------------------------------------------------


_LAYOUTS = {"nhwc": "nhwc", PIXELS: "nhwc", IMAGE: "nchw"}
_AS_PIXELS: dict[str, Any] = {"divide_by": 1.0, "mean": (0.0,), "std": (1.0,)}
"""What is left to do where the model does the arithmetic itself."""


def _image(step: Step, border: _Border) -> Step:
    spec = border.specs[step.options["input"]]
    shape = _shape(spec)
    if spec.layout in BAKED:
        order = {"bgr": "rgb"}.get(step.options["channels"], step.options["channels"])
        step = _with(step, **_AS_PIXELS, channels=order)
    layout = _LAYOUTS.get(spec.layout or "") or step.options["layout"]
    channels = 1 if step.options["channels"] == "gray" else 3
    place = 3 if layout == "nhwc" else 1
    if len(shape) != 4 or shape[0] != 1 or shape[place] != channels:
        raise _misfit(border, step, f"makes a picture of {channels} channels, {layout}", spec)
    size = shape[1:3] if layout == "nhwc" else shape[2:4]
    fixed = step.options["crop"] or (
        step.options["size"] if step.options["resize"] in ("stretch", "letterbox") else size
    )
    if tuple(fixed) != size:
        raise _misfit(border, step, f"makes a picture of {fixed[0]} x {fixed[1]} pixels", spec)
    _per_channel(border, step, channels)
    return _with(step, dtype=_numpy_name(spec), layout=layout, shape=shape)


def _log_mel(step: Step, border: _Border) -> Step:
    spec = border.specs[step.options["input"]]
    shape = _shape(spec)
    frames = 1 + (step.options["samples"] - step.options["frame"]) // step.options["hop"]
    made = (step.options["mels"], frames)
    made = made if step.options["layout"] == "mel_time" else made[::-1]
    if tuple(size for size in shape if size > 1) != tuple(size for size in made if size > 1):
        raise _misfit(border, step, f"makes features of shape {list(made)}", spec)
    return _with(step, dtype=_numpy_name(spec), shape=shape)


def _tokens(step: Step, border: _Border) -> Step:
    path = border.processing.folder / step.options["vocabulary"]
    words = _lines(path)
    for key in ("padding", "unknown", "begin", "end"):
        word = step.options[key]
        if word is not None and word not in words:
            raise UsageError(f"{path} does not have the word {word!r} that {key} names.")
    ids, mask = border.specs[step.options["ids"]], step.options["mask"]
    for spec in (ids, border.specs[mask]) if mask else (ids,):
        if _shape(spec) != (1, step.options["length"]):
            raise _misfit(border, step, f"makes [1, {step.options['length']}]", spec)
    mask_dtype = _numpy_name(border.specs[mask] if mask else ids)
    return _with(step, vocabulary=words, dtype=_numpy_name(ids), mask_dtype=mask_dtype)


def _tensor(step: Step, border: _Border) -> Step:
    spec = border.specs[step.options["input"]]
    shape = _shape(spec)
    _per_channel(border, step, shape[-1] if shape else 1)
    return _with(step, dtype=_numpy_name(spec), shape=shape)


def _classes(step: Step, border: _Border) -> Step:
    spec = border.specs[step.options["output"]]
    count = int(np.prod(_shape(spec), dtype=np.int64))
    return _with(step, labels=_labels(step, border, count))


def _class_map(step: Step, border: _Border) -> Step:
    spec = border.specs[step.options["output"]]
    shape, axis = _shape(spec), 3 if spec.layout == "nhwc" else 1
    if len(shape) != 4 or shape[0] != 1 or shape[axis] > 256:
        raise _misfit(border, step, "reads scores [1, classes, height, width]", spec)
    return _with(step, axis=axis, labels=_labels(step, border, shape[axis]))


def _boxes(step: Step, border: _Border) -> Step:
    corners, scores = border.specs[step.options["corners"]], border.specs[step.options["scores"]]
    count = _shape(corners)[-2:]
    each = _shape(scores)
    if len(each) < 2 or count[-1] != 4 or count[0] != each[-2]:
        raise _misfit(border, step, "reads boxes [1, N, 4] and scores [1, N, C]", scores)
    return _with(step, labels=_labels(step, border, each[-1]))


def _values(step: Step, border: _Border) -> Step:
    spec = border.specs[step.options["output"]]
    return _with(step, dtype="float32" if spec.dtype.is_float else "int64")


_BINDERS = {
    "image": _image,
    "log_mel": _log_mel,
    "tokens": _tokens,
    "tensor": _tensor,
    "classes": _classes,
    "class_map": _class_map,
    "boxes": _boxes,
    "values": _values,
}


def _with(step: Step, **bound: Any) -> Step:
    return replace(step, options={**step.options, **bound})


def _shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of one sample: a batch that may vary is 1."""
    first, *rest = spec.shape or (1,)
    shape = (1 if isinstance(first, Dim) and first.min <= 1 else first, *rest)
    fixed = tuple(size for size in shape if isinstance(size, int))
    if len(fixed) != len(shape):
        raise UsageError(
            f"{spec} has dimensions that vary, and an app's call has fixed ones.",
            "Convert the model with fixed shapes for packaging.",
        )
    return fixed


def _numpy_name(spec: TensorSpec) -> str:
    if spec.dtype is DType.STRING:
        raise UsageError(f"{spec} takes text, and no step fills such an input.")
    return spec.dtype.numpy().name


def _misfit(border: _Border, step: Step, does: str, spec: TensorSpec) -> UsageError:
    return UsageError(f"{border.processing.where}: {step.name!r} {does}, and the model has {spec}.")


def _per_channel(border: _Border, step: Step, channels: int) -> None:
    for key in ("mean", "std"):
        if len(step.options[key]) not in (1, channels):
            raise UsageError(
                f"{border.processing.where}: {step.name!r} has {len(step.options[key])} values "
                f"in {key}.",
                f"Give one, or one for each of {channels} channels.",
            )


def _labels(step: Step, border: _Border, count: int) -> tuple[str, ...]:
    declared = step.options["labels"]
    if isinstance(declared, str):
        declared = _lines(border.processing.folder / declared)
    found = tuple(declared or border.processing.labels or border.labels or map(str, range(count)))
    if len(found) != count:
        raise UsageError(
            f"{border.processing.where or 'The artifact'}: {step.name!r} has {len(found)} labels "
            f"for {count} classes.",
            "Declare one label for each class, in the order of the model's scores.",
        )
    return found


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    return tuple(line.removesuffix("\r") for line in lines if line.strip())
