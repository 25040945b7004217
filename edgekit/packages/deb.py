"""A Debian package for boards of the Raspberry Pi kind: the same Python package as in the wheel.

It is for all architectures, and runs nothing when it is installed.  The model's runtime is not a
dependency: Debian has none for TFLite, and for ONNX only since Debian 13.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.packages import Bundle, Cargo, Checked, Files, _deb, _manifest
from edgekit.packages._python import python_package
from edgekit.packages._templates import render

FORMATS = ("onnx", "tflite")
SUMMARY = "Debian package"
VARIANTS = False

_RUNTIMES = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}
_SUMS = f"{_deb.CONTROL}md5sums"
_FOLDER = "usr/lib/python3/dist-packages"


def build(cargoes: Sequence[Cargo]) -> Bundle:
    """Return the Debian package of one artifact."""
    (cargo,) = cargoes
    card = cargo.card
    folder = f"{_FOLDER}/{card.name}"
    files = {f"{folder}/{path}": content for path, content in python_package(cargo).items()}
    files[f"usr/share/doc/{card.dashed}/copyright"] = render("deb/copyright", {"card": card})
    values = {
        "card": card,
        "runtime": _RUNTIMES[cargo.artifact.format],
        "kibibytes": sum(-(-len(content) // 1024) for content in files.values()),
    }
    files[f"{_deb.CONTROL}control"] = render("deb/control", values)
    manifest = _manifest.describe(cargoes, "deb", f"{folder}/")
    files[f"{folder}/{_manifest.NAME}"] = _manifest.sealed(manifest, files)
    files[_SUMS] = _sums(files)
    return Bundle(f"{card.dashed}_{card.version}_all.deb", "deb", files)


def check(files: Files, _manifest: Mapping[str, Any]) -> Checked:
    """Check dpkg's own list of files."""
    if files.get(_SUMS) != _sums(files):
        raise ArtifactError(f"{_SUMS} does not list the files as they are.")
    return Checked(files, frozenset({_SUMS}))


def _sums(files: Files) -> bytes:
    """Return the list that dpkg keeps of the files that it installed."""
    return "".join(
        f"{hashlib.md5(files[name], usedforsecurity=False).hexdigest()}  {name}\n"
        for name in sorted(files)
        if not name.startswith(_deb.CONTROL)
    ).encode()
