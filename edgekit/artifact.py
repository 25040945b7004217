"""An artifact: a model file that edgekit made, and the sidecar beside it that says how.

The sidecar is ``<file>.json``.  It names its parent (the program's sha256) and the artifact's own
sha256, so that every later stage can tell whether a record belongs to the file in hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.hashing import sha256_of, size_of
from edgekit.recipe import Recipe, load_recipe
from edgekit.tensors import Signature
from edgekit.verification import Verification

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Artifact:
    """A converted model on disk.

    Attributes:
        path: The file (``.mlpackage``: the folder).
        format: Name of its format.
        recipe: Name of the recipe it was made with.
        signature: Inputs and outputs in calling order, with the source's types where they differ.
        sha256: Identity of the file, or of the folder's contents.
        size_bytes: Size of it and its companions.
        program_sha256: Identity of the exported program that it was lowered from.
        origin: The source string.
        options: The format's options.
        toolchain: Version of every package that shaped it.
        companions: sha256 of files beside it that it cannot be opened without, by name.
        verification: The verdict at conversion; None when it was not judged.
        definition: The recipe itself, where it is not one of edgekit's own; else None.
    """

    path: Path
    format: str
    recipe: str
    signature: Signature
    sha256: str
    size_bytes: int
    program_sha256: str
    origin: str
    options: dict[str, Any] = field(default_factory=dict)
    toolchain: dict[str, str] = field(default_factory=dict)
    companions: dict[str, str] = field(default_factory=dict)
    verification: Verification | None = None
    definition: dict[str, Any] | None = None

    @property
    def made_by(self) -> Recipe:
        """The recipe that it was made with."""
        if self.definition is not None:
            return Recipe.from_json(self.definition)
        return load_recipe(self.recipe)

    @property
    def sidecar(self) -> Path:
        """Path of the sidecar."""
        return sidecar_of(self.path)

    @property
    def files(self) -> list[Path]:
        """The artifact and its companions."""
        return [self.path, *(self.path.with_name(name) for name in self.companions)]

    def to_json(self) -> dict[str, Any]:
        """Return the sidecar's contents; paths are left out, since files move."""
        verification = self.verification
        return {
            "schema_version": SCHEMA_VERSION,
            "file": self.path.name,
            "format": self.format,
            "recipe": self.recipe,
            "signature": self.signature.to_json(),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "companions": self.companions,
            "program_sha256": self.program_sha256,
            "origin": self.origin,
            "options": self.options,
            "toolchain": self.toolchain,
            "verification": verification.to_json() if verification else None,
            "definition": self.definition,
        }

    @staticmethod
    def from_json(data: dict[str, Any], path: Path) -> Artifact:
        """Rebuild an artifact from its sidecar's contents and the place where its file lies."""
        verification = data["verification"]
        return Artifact(
            path,
            data["format"],
            data["recipe"],
            Signature.from_json(data["signature"]),
            data["sha256"],
            data["size_bytes"],
            data["program_sha256"],
            data["origin"],
            data["options"],
            data["toolchain"],
            data["companions"],
            Verification.from_json(verification) if verification else None,
            data.get("definition"),
        )


def sidecar_of(path: Path) -> Path:
    """Return where the sidecar of a model file lies."""
    return path.with_name(path.name + ".json")


def measured(path: Path) -> dict[str, Any]:
    """Return the identity fields of a freshly written file: sha256, size and companions."""
    companions = sorted(path.parent.glob(path.name + ".data*"))
    return {
        "sha256": sha256_of(path),
        "size_bytes": size_of(path) + sum(map(size_of, companions)),
        "companions": {each.name: sha256_of(each) for each in companions},
    }


def open_artifact(path: Path) -> Artifact:
    """Read an artifact's sidecar and check that it belongs to the file.

    Raises:
        ArtifactError: there is no file or no sidecar, or they do not belong together.
    """
    if not path.exists():
        raise ArtifactError(f"There is no file {path}.", "Check the path of the artifact.")
    sidecar = sidecar_of(path)
    try:
        data = json.loads(sidecar.read_text())
        version = data["schema_version"]
        artifact = Artifact.from_json(data, path) if version == SCHEMA_VERSION else None
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} has no sidecar {sidecar.name}, so nothing says what it should do.",
            "Make it with edgekit convert, and keep the two files together.",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{sidecar} is not a sidecar that edgekit wrote: {error!r}.") from error
    if artifact is None:
        raise ArtifactError(
            f"{sidecar} has schema version {version}; this edgekit reads {SCHEMA_VERSION}.",
            "Convert the model again, or use the edgekit that made it.",
        )
    if measured(path)["sha256"] != artifact.sha256:
        raise ArtifactError(
            f"{path} is not the file that {sidecar.name} describes: its contents have changed.",
            "Convert it again.",
        )
    return artifact


def write_sidecar(artifact: Artifact) -> None:
    """Write the sidecar beside the artifact, whole or not at all."""
    draft = artifact.sidecar.with_suffix(".draft")
    draft.write_text(json.dumps(artifact.to_json(), indent=1) + "\n")
    draft.replace(artifact.sidecar)
