"""The Python package that wheels and Debian packages carry: model, typed wrapper, reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.packages import Cargo, Files, _bom
from edgekit.packages._selfcheck import FILE_NAME, word_file, words_of
from edgekit.packages._templates import python_literal, render
from edgekit.processing import reference
from edgekit.processing.schema import Step

_ARGUMENTS = {
    "image": (
        "npt.NDArray[np.uint8]",
        "picture, uint8 (height, width), or with 1, 3 or 4 channels.",
    ),
    "log_mel": ("npt.ArrayLike", "sound, one line of samples in -1..1 at {sample_rate} Hz."),
    "tokens": ("str", "text."),
    "tensor": ("npt.ArrayLike", "numbers of shape {shape}."),
}
_RESULTS = {
    "classes": ("list[Scored]", "classes and their scores, the highest first."),
    "class_map": ("npt.NDArray[np.uint8]", "the class of each pixel (height, width)."),
    "boxes": ("list[Box]", "objects, the surest first."),
    "values": ("npt.NDArray[np.{dtype}]", "the output {output}."),
}


def python_package(cargo: Cargo) -> Files:
    """Return the files of the Python package but its manifest."""
    files = {
        "__init__.py": render("linux/__init__.py", _names(cargo)),
        "__main__.py": render("linux/__main__.py", {"card": cargo.card}),
        "_engine.py": render(f"linux/_engine_{cargo.artifact.format}.py", {}),
        "_selfcheck.py": render("linux/_selfcheck.py", {}),
        "py.typed": b"",
        FILE_NAME: cargo.selfcheck.data,
        _bom.NAME: _bom.describe([cargo]),
        **cargo.model,
    }
    files |= {f"_processing/{path}": text for path, text in _reference(cargo.card.name).items()}
    for step in cargo.bound.before:
        if step.kind == "tokens":
            files[word_file(step)] = words_of(step)
    return files


def _reference(name: str) -> Files:
    """Return the reference itself, as a package inside the package."""
    folder = Path(str(reference.__file__)).parent
    return {
        path.name: path.read_bytes().replace(
            reference.__name__.encode(), f"{name}._processing".encode()
        )
        for path in sorted(folder.glob("*.py"))
    }


def _names(cargo: Cargo) -> dict[str, Any]:
    """Return what the wrapper's template speaks of."""
    before = [_argument(step) for step in cargo.bound.before]
    after = [_result(step) for step in cargo.bound.after]
    kinds = {step.kind for step in cargo.bound.after}
    imported = [name for kind, name in (("boxes", "Box"), ("classes", "Scored")) if kind in kinds]
    labels = [f"{step['name'].upper()}_LABELS" for step in after if step["labels"]]
    return {
        "card": cargo.card,
        "model": cargo.artifact.path.name,
        "before": before,
        "after": after,
        "example": ", ".join(step["name"] for step in before),
        "types": " ".join(step["type"] for step in (*before, *after)),
        "imported": imported,
        "exported": tuple(
            sorted([cargo.card.class_name, "Prediction", "self_check", *imported, *labels])
        ),
    }


def _argument(step: Step) -> dict[str, Any]:
    kind, doc = _ARGUMENTS[step.kind]
    given = {**step.options, "vocabulary": f"_{step.name.upper()}_WORDS"}
    return {
        "name": step.name,
        "kind": step.kind,
        "type": kind,
        "parameter": f"{step.name}: {kind}",
        "doc": doc.format(**step.options).capitalize(),
        "file": word_file(step),
        "arguments": [
            (key, given[key] if key == "vocabulary" else python_literal(value, 16))
            for key, value in step.options.items()
        ],
    }


def _result(step: Step) -> dict[str, Any]:
    kind, doc = _RESULTS[step.kind]
    constant = f"{step.name.upper()}_LABELS"
    return {
        "name": step.name,
        "kind": step.kind,
        "type": kind.format(**step.options),
        "doc": doc.format(**step.options).capitalize(),
        "labels": step.options.get("labels"),
        "arguments": [
            (key, constant if key == "labels" else python_literal(value, 16))
            for key, value in step.options.items()
        ],
    }
