"""A Swift package: the model as a resource that Xcode compiles, and a typed wrapper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import UsageError
from edgekit.packages import Bundle, Cargo, Checked, Files, _bom, _manifest
from edgekit.packages._selfcheck import FILE_NAME, word_file, words_of
from edgekit.packages._swift import wrapper_values
from edgekit.packages._templates import FOLDER, render
from edgekit.wire import mlprogram

FORMATS = ("coreml",)
SUMMARY = "Swift package"
VARIANTS = False

_PRIVACY = "PrivacyInfo.xcprivacy"
_MACOS = {15: 12, 16: 13, 17: 14, 18: 15}
"""The macOS that knows the same models as an iOS."""


def build(cargoes: Sequence[Cargo]) -> Bundle:
    """Return the Swift package of one artifact."""
    (cargo,) = cargoes
    if cargo.artifact.path.suffix != ".mlpackage":
        raise UsageError(f"{cargo.artifact.path} is no .mlpackage, which Xcode compiles.")
    name = cargo.card.class_name
    words = {
        word_file(step): words_of(step) for step in cargo.bound.before if step.kind == "tokens"
    }
    resources = {**cargo.model, **words, FILE_NAME: cargo.selfcheck.data}
    resources[_PRIVACY] = render(f"apple/{_PRIVACY}", {})
    ios = mlprogram.read_model(cargo.artifact.path).ios
    values = {
        **wrapper_values(cargo),
        "model": cargo.artifact.path.name,
        "copied": [*words, FILE_NAME, _PRIVACY],
        "ios": f"{ios}.0",
        "macos": f"{_MACOS[ios]}.0",
    }
    files = {f"Sources/{name}/Resources/{path}": content for path, content in resources.items()}
    files["Package.swift"] = render("apple/Package.swift", values)
    for path in sorted((FOLDER / "apple").glob("*.swift.j2")):
        stem = path.name.removesuffix(".swift.j2")
        if stem != "Package":
            place = name if stem == "Wrapper" else stem
            files[f"Sources/{name}/{place}.swift"] = render(f"apple/{stem}.swift", values)
    manifest = _manifest.describe(cargoes, "apple", f"Sources/{name}/Resources/")
    files[_bom.NAME] = _bom.describe(cargoes)
    files[_manifest.NAME] = _manifest.sealed(manifest, files)
    return Bundle(name, "folder", files)


def check(files: Files, _record: Mapping[str, Any]) -> Checked:
    """Check nothing that the manifest does not."""
    return Checked(files)
