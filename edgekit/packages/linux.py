"""A Python wheel: the model, a typed wrapper, and nothing to install but numpy and a runtime."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.packages import Bundle, Cargo, Checked, Files, _bom, _manifest
from edgekit.packages._selfcheck import FILE_NAME, word_file, words_of
from edgekit.packages._templates import python_literal, render
from edgekit.processing import reference
from edgekit.processing.schema import Step

FORMATS = ("onnx", "tflite")
SUMMARY = "Python wheel"

_RUNTIMES = {"onnx": "onnxruntime>=1.22", "tflite": "ai-edge-litert>=2.1"}
_WHEEL = b"Wheel-Version: 1.0\nGenerator: edgekit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
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


def build(cargo: Cargo) -> Bundle:
    """Return the wheel of one artifact."""
    name, version = cargo.card.name, cargo.card.version
    folder = f"{name}-{version}.dist-info"
    files = {f"{name}/{path}": content for path, content in _package(cargo).items()}
    files |= {f"{name}/{path}": content for path, content in cargo.model.items()}
    files[f"{folder}/METADATA"] = render(
        "linux/METADATA",
        {
            "card": cargo.card,
            "runtime": _RUNTIMES[cargo.artifact.format],
            "sha256": cargo.artifact.sha256,
        },
    )
    files[f"{folder}/WHEEL"] = _WHEEL
    files[f"{name}/{_bom.NAME}"] = _bom.describe(cargo)
    manifest = _manifest.describe(cargo, "linux", f"{name}/{cargo.artifact.path.name}")
    files[f"{name}/{_manifest.NAME}"] = _manifest.sealed(manifest, files)
    files[f"{folder}/RECORD"] = _record(files, f"{folder}/RECORD")
    return Bundle(f"{name}-{version}-py3-none-any.whl", "zip", files)


def check(files: Files, manifest: Mapping[str, Any]) -> Checked:
    """Check pip's own list of files."""
    folder = f"{manifest['card'].get('name')}-{manifest['card'].get('version')}.dist-info"
    record = f"{folder}/RECORD"
    others = {name: content for name, content in files.items() if name != record}
    if files.get(record) != _record(others, record):
        raise ArtifactError(f"{record} does not list the files as they are.")
    return Checked(files, frozenset({record}))


def _record(files: Files, own_name: str) -> bytes:
    """Return RECORD as the wheel specification (PEP 427) has it."""
    lines = []
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
        lines.append(f"{name},sha256={digest.decode()},{len(files[name])}\n")
    return "".join([*lines, f"{own_name},,\n"]).encode()


def _package(cargo: Cargo) -> Files:
    """Return the files of the Python package but the model."""
    steps = cargo.bound.before
    files = {
        "__init__.py": render("linux/__init__.py", _names(cargo)),
        "_engine.py": render(f"linux/_engine_{cargo.artifact.format}.py", {}),
        "_selfcheck.py": render("linux/_selfcheck.py", {}),
        "py.typed": b"",
        FILE_NAME: cargo.selfcheck.data,
    }
    files |= {f"_processing/{path}": text for path, text in _reference(cargo.card.name).items()}
    for step in steps:
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
