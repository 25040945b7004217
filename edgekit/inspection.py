"""What a model file says about itself, whoever made it, with nothing but numpy installed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.errors import UsageError
from edgekit.hashing import sha256_of, size_of
from edgekit.tensors import Signature
from edgekit.wire import ModelSummary

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Inspection:
    """A model file's identity, interface and contents.

    Attributes:
        path: The file, or the folder of an ``.mlpackage``.
        format: Name of its format.
        size_bytes: Its size, without weights that it keeps in files beside it.
        sha256: Its identity, as `edgekit.hashing.sha256_of` defines it.
        signature: Inputs and outputs in calling order.
        ops: How often each operator occurs, the most frequent first.
        parameter_bytes: Bytes of stored constants by element type, the largest first.
        metadata: What the model's author wrote into the file, by key.
        details: Facts of the format, such as its version and operator set.
        provenance: The sidecar that edgekit wrote beside the file; None when there is none.
        notes: What a reader must know that fits nowhere above.
    """

    path: Path
    format: str
    size_bytes: int
    sha256: str
    signature: Signature
    ops: dict[str, int]
    parameter_bytes: dict[str, int]
    metadata: dict[str, str]
    details: dict[str, str]
    provenance: dict[str, Any] | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "path": str(self.path),
            "format": self.format,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "signature": self.signature.to_json(),
            "ops": self.ops,
            "parameter_bytes": self.parameter_bytes,
            "metadata": self.metadata,
            "details": self.details,
            "provenance": self.provenance,
            "notes": list(self.notes),
        }


def inspect(path: Path) -> Inspection:
    """Read a model file of any format; a format claims it by the end of its name.

    Raises:
        UsageError: no format has files of such a name.
        ArtifactError: the file is missing, damaged or of another kind than its name says.
    """
    suffixes: dict[str, str] = {}
    for name, module in registry.load_all("formats").items():
        suffixes |= dict.fromkeys(module.SUFFIXES, name)
        if path.name.endswith(module.SUFFIXES):
            return combine(path, name, module.summarize(path))
    raise UsageError(
        f"The name of {path} does not tell its format.",
        f"Known endings: {', '.join(sorted(suffixes))}.",
    )


def combine(path: Path, format_name: str, summary: ModelSummary) -> Inspection:
    """Join a format's summary with what holds for a file of any format."""
    sha256 = sha256_of(path)
    provenance, doubts = _provenance(path, sha256)
    return Inspection(
        path=path,
        format=format_name,
        size_bytes=size_of(path),
        sha256=sha256,
        signature=summary.signature,
        ops=summary.ops,
        parameter_bytes=summary.parameter_bytes,
        metadata=summary.metadata,
        details={key: value for key, value in summary.details.items() if value},
        provenance=provenance,
        notes=(*summary.notes, *doubts),
    )


def sidecar_of(path: Path) -> Path:
    """Return where the sidecar of an artifact lies: beside it, with ``.json`` after its name."""
    return path.with_name(path.name + ".json")


def _provenance(path: Path, sha256: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the sidecar's content, and why not to trust it."""
    sidecar = sidecar_of(path)
    if not sidecar.is_file():
        return None, []
    try:
        data = json.loads(sidecar.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None, [f"The sidecar {sidecar.name} is not readable JSON."]
    if not isinstance(data, dict):
        return None, [f"The sidecar {sidecar.name} is not an object."]
    if data.get("sha256", sha256) != sha256:
        return data, [f"The file changed after its sidecar {sidecar.name} was written."]
    return data, []
