"""A Python wheel: the model, a typed wrapper, and nothing to install but numpy and a runtime."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.packages import Bundle, Cargo, Checked, Files, _manifest
from edgekit.packages._python import python_package
from edgekit.packages._templates import render

FORMATS = ("onnx", "tflite")
SUMMARY = "Python wheel"
VARIANTS = False

_RUNTIMES = {"onnx": "onnxruntime>=1.22", "tflite": "ai-edge-litert>=2.1"}
_WHEEL = b"Wheel-Version: 1.0\nGenerator: edgekit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build(cargoes: Sequence[Cargo]) -> Bundle:
    """Return the wheel of one artifact."""
    (cargo,) = cargoes
    name, version = cargo.card.name, cargo.card.version
    folder = f"{name}-{version}.dist-info"
    files = {f"{name}/{path}": content for path, content in python_package(cargo).items()}
    files[f"{folder}/METADATA"] = render(
        "linux/METADATA",
        {
            "card": cargo.card,
            "runtime": _RUNTIMES[cargo.artifact.format],
            "sha256": cargo.artifact.sha256,
        },
    )
    files[f"{folder}/WHEEL"] = _WHEEL
    manifest = _manifest.describe(cargoes, "linux", f"{name}/")
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
