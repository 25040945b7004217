"""C99 sources for a firmware build: the model as an array, and what comes before and after it.

The interpreter is the firmware's own, e.g. TensorFlow Lite for Microcontrollers: the wrapper fills
its inputs and reads its outputs, and names no vendor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.packages import Bundle, Cargo, Checked, Files, _bom, _manifest
from edgekit.packages._arena import ALIGNMENT, arena_hint
from edgekit.packages._c import model_source, selfcheck_values, wrapper_values
from edgekit.packages._templates import render

FORMATS = ("tflite",)
SUMMARY = "C sources for firmware"
VARIANTS = False


def build(cargoes: Sequence[Cargo]) -> Bundle:
    """Return the sources of one artifact."""
    (cargo,) = cargoes
    name, model = cargo.card.name, cargo.artifact.path.name
    values = wrapper_values(cargo, ALIGNMENT, arena_hint(cargo.artifact.path))
    files = {
        **cargo.model,
        f"{name}.h": render("firmware/wrapper.h", values),
        f"{name}.c": render("firmware/wrapper.c", values),
        f"{name}_model.c": model_source(name, cargo.model[model], ALIGNMENT),
        f"{name}_selfcheck.c": render("firmware/selfcheck.c", values | selfcheck_values(cargo)),
        _bom.NAME: _bom.describe(cargoes),
    }
    files[_manifest.NAME] = _manifest.sealed(_manifest.describe(cargoes, "firmware", ""), files)
    return Bundle(f"{cargo.card.dashed}-{cargo.card.version}-firmware", "folder", files)


def check(files: Files, manifest: Mapping[str, Any]) -> Checked:
    """Check that the array is the model."""
    name, model = str(manifest["card"].get("name")), manifest["variants"][0]["model"]["path"]
    source = f"{name}_model.c"
    if files.get(source) != model_source(name, files.get(model, b""), ALIGNMENT):
        raise ArtifactError(f"{source} does not hold the model {model}.")
    return Checked(files)
