"""``edgekit-manifest.json``: what a package holds, and the evidence for it.

The manifest has one form, JSON with sorted keys, and a seal: the sha256 of itself without the seal.
The seal finds damage, not malice; a signature (`edgekit.packages._signature`) finds malice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath
from typing import Any

import edgekit
from edgekit.errors import ArtifactError
from edgekit.hashing import listing_sha256
from edgekit.packages import Cargo, Files

SCHEMA_VERSION = 1
NAME = "edgekit-manifest.json"

_SCHEMA: Mapping[str, type | tuple[type, ...]] = {
    "schema_version": int,
    "flavour": str,
    "edgekit": str,
    "card": dict,
    "variants": list,
    "toolchain": dict,
    "files": dict,
    "seal": str,
}
_VARIANT_KEYS = frozenset(
    ("name", "socs", "model", "processing", "selfcheck", "unverified", "benchmarks")
)
_MODEL_KEYS = frozenset(
    (
        "path",
        "format",
        "recipe",
        "sha256",
        "size_bytes",
        "program_sha256",
        "origin",
        "options",
        "signature",
        "toolchain",
        "verification",
    )
)


def describe(
    cargoes: Sequence[Cargo],
    flavour: str,
    folder: str,
    toolchain: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a manifest that lacks its files.

    Args:
        cargoes: What the package carries: one variant of a model, or several.
        flavour: Name of the flavour.
        folder: Where the variants lie in the package; ends in a slash, or is empty.
        toolchain: Versions of what shaped the package beside edgekit.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "flavour": flavour,
        "edgekit": edgekit.__version__,
        "card": dict(vars(cargoes[0].card)),
        "variants": [_variant(cargo, folder) for cargo in cargoes],
        "toolchain": dict(toolchain or {}),
    }


def _variant(cargo: Cargo, folder: str) -> dict[str, Any]:
    path = f"{folder}{cargo.folder}{cargo.artifact.path.name}"
    record = {**cargo.artifact.to_json(), "path": path}
    record["origin"] = PurePosixPath(record["origin"]).name  # no path of the maker's machine
    return {
        "name": cargo.variant,
        "socs": list(cargo.socs),
        "model": {key: value for key, value in record.items() if key in _MODEL_KEYS},
        "processing": cargo.bound.to_json(),
        "selfcheck": cargo.selfcheck.table,
        "unverified": cargo.unverified,
        "benchmarks": [dict(record) for record in cargo.benchmarks],
    }


def sealed(manifest: Mapping[str, Any], files: Files) -> bytes:
    """Return the manifest as it is written, with sha256 and size of each file, and its seal."""
    listing = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in files.items()
    }
    whole = {**manifest, "files": listing}
    return _text({**whole, "seal": _seal(whole)})


def find(files: Files) -> str:
    """Return the path of the manifest in a package.

    Raises:
        ArtifactError: there is none, or more than one.
    """
    found = [name for name in files if PurePosixPath(name).name == NAME]
    if len(found) != 1:
        raise ArtifactError(f"The package has {len(found)} files {NAME}, not one.")
    return found[0]


def read(content: bytes) -> dict[str, Any]:
    """Return a manifest whose form, schema and seal are right.

    Raises:
        ArtifactError: one of them is not.
    """
    try:
        manifest: dict[str, Any] = json.loads(content)
    except (ValueError, RecursionError):
        raise ArtifactError(f"{NAME} is not JSON.") from None
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{NAME} has schema version {version!r}; this edgekit reads {SCHEMA_VERSION}."
        )
    for key in sorted({*_SCHEMA, *manifest}):
        if key not in _SCHEMA or not isinstance(manifest.get(key), _SCHEMA[key]):
            raise ArtifactError(f"{NAME}: {key!r} is missing, unknown or of the wrong type.")
    entries = manifest["files"].values()
    if not all(
        isinstance(each, dict) and set(each) == {"sha256", "size_bytes"} for each in entries
    ):
        raise ArtifactError(f"{NAME}: an entry of 'files' is not complete.")
    for variant in manifest["variants"] or [{}]:
        whole = isinstance(variant, dict) and set(variant) == _VARIANT_KEYS
        if not whole or set(variant["model"]) != _MODEL_KEYS:
            raise ArtifactError(f"{NAME}: the record of a model is not complete.")
    if _text(manifest) != content:
        raise ArtifactError(f"{NAME} is not in the form that edgekit writes.")
    if _seal({key: value for key, value in manifest.items() if key != "seal"}) != manifest["seal"]:
        raise ArtifactError(f"{NAME} was changed after it was sealed.")
    return manifest


def check_files(manifest: Mapping[str, Any], files: Files, besides: AbstractSet[str]) -> None:
    """Check that a package holds the files of its manifest, and no others.

    Args:
        manifest: The manifest.
        files: The package's files.
        besides: Files that the manifest cannot list, such as itself.

    Raises:
        ArtifactError: a file is missing, unknown, or has other content.
    """
    listed = manifest["files"]
    for name in sorted({*listed, *files} - besides):
        if name not in files:
            raise ArtifactError(f"The file {name} of the manifest is missing.")
        if name not in listed:
            raise ArtifactError(f"The file {name} is not in the manifest.")
        if listed[name]["sha256"] != hashlib.sha256(files[name]).hexdigest():
            raise ArtifactError(f"The file {name} is not the one that was packaged.")


def check_models(manifest: Mapping[str, Any], files: Files) -> None:
    """Check that each model is the one that its record describes.

    Raises:
        ArtifactError: one is missing, or another.
    """
    for variant in manifest["variants"]:
        _check_model(variant["model"]["path"], variant["model"]["sha256"], files)


def _check_model(path: str, sha256: str, files: Files) -> None:
    below = {
        name.removeprefix(f"{path}/"): hashlib.sha256(content).hexdigest()
        for name, content in files.items()
        if name.startswith(f"{path}/")
    }
    content = files.get(path, b"")
    measured = listing_sha256(below) if below else hashlib.sha256(content).hexdigest()
    if measured != sha256:
        raise ArtifactError(f"The model {path} is not the one that its record describes.")


def _text(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _seal(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(manifest)).hexdigest()
