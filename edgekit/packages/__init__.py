"""Packages: what an app build consumes.  One module for each flavour; this page is their contract.

A flavour's module holds::

    FORMATS: tuple[str, ...]            # of the artifacts that it packages
    SUMMARY: str                        # what it makes, for the report
    VARIANTS: bool                      # whether a package may hold several variants of a model
    def build(cargoes) -> Bundle        # the files, as bytes; nothing is written here
    def check(files, manifest) -> Checked   # what it alone promises; raises ArtifactError

`edgekit.packaging` does what is the same for all: it asks the gate, fits the processing, records
the self-check, calls `build`, and writes the bundle.  `edgekit.packages._archive` has the
containers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgekit.artifact import Artifact
from edgekit.packages._selfcheck import SelfCheck
from edgekit.processing.binding import Bound

Files = dict[str, bytes]
"""Content by path; paths are relative and have forward slashes."""


@dataclass(frozen=True)
class Card:
    """What a package says of its model.

    Attributes:
        name: In lower case with underscores; every other spelling is made of it.
        version: Of the model and of the package.
        description: One sentence.
        author: Who made the model.
        license: The model's licence, an SPDX expression where it has one.
    """

    name: str
    version: str
    description: str = ""
    author: str = ""
    license: str = ""

    @property
    def class_name(self) -> str:
        """The name as a class: ``DigitClassifier``."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def dashed(self) -> str:
        """The name as an address: ``digit-classifier``."""
        return self.name.replace("_", "-")


@dataclass(frozen=True)
class Cargo:
    """One variant of a model, with all that goes into a bundle for it.

    Attributes:
        artifact: The model, as its gate let it pass.
        model: Its files: path below the model's own name, and content.
        bound: Its processing.
        selfcheck: Arguments and what came of them.
        card: What to say of it.
        unverified: Why it was not verified, where that was allowed; else empty.
        benchmarks: Records of benchmarks of this artifact.
        variant: Its name among the variants of a package; empty where it is the only one.
        socs: Systems on a chip that it is meant for, by the names that they give themselves.
    """

    artifact: Artifact
    model: Files
    bound: Bound
    selfcheck: SelfCheck
    card: Card
    unverified: str = ""
    benchmarks: tuple[Mapping[str, Any], ...] = ()
    variant: str = ""
    socs: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Where its own files lie in a package: nowhere special if it is the only one."""
        return f"{self.variant}/" if self.variant else ""


@dataclass(frozen=True)
class Bundle:
    """A finished package, in memory.

    Attributes:
        name: Of its file or folder.
        container: ``zip``, ``folder`` or ``deb``.
        files: Its content, the manifest included.
        notes: What its reader must know.
    """

    name: str
    container: str
    files: Files
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What a flavour's check found.

    Attributes:
        carrier: The files among which the model lies.
        unlisted: Files that no manifest can list.
    """

    carrier: Files
    unlisted: frozenset[str] = frozenset()


class Flavour(Protocol):
    """A flavour's module; see the page above."""

    FORMATS: tuple[str, ...]
    SUMMARY: str
    VARIANTS: bool

    def build(self, cargoes: Sequence[Cargo]) -> Bundle:
        """Return the package of one artifact, or of several variants of one model."""
        ...

    def check(self, files: Files, manifest: Mapping[str, Any]) -> Checked:
        """Check what this flavour alone promises."""
        ...
