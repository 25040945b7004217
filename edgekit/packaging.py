"""Package artifacts for apps: gate, processing, self-check, build, write; and check packages again.

What a package looks like is its flavour's matter, in `edgekit.packages`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.artifact import Artifact, open_artifact
from edgekit.delivery import move
from edgekit.errors import ArtifactError, UnknownNameError, UsageError, VerdictError
from edgekit.hashing import sha256_of, size_of
from edgekit.inspection import inspect
from edgekit.packages import Bundle, Card, Cargo, Files, _archive, _manifest, _selfcheck, _signature
from edgekit.packages._records import read_records
from edgekit.packages._variants import plan
from edgekit.processing import declared
from edgekit.processing.binding import bind
from edgekit.verification import PASSED

SCHEMA_VERSION = 1
FIRST_VERSION = "0.1.0"


@dataclass(frozen=True)
class Package:
    """A package on disk.

    Attributes:
        path: Its file or folder.
        flavour: Name of its flavour.
        artifacts: The artifacts in it: one, or the variants.
        sha256: Identity of the file, or of the folder's contents.
        size_bytes: Size of it.
        notes: What its reader must know.
    """

    path: Path
    flavour: str
    artifacts: tuple[Path, ...]
    sha256: str
    size_bytes: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        paths = list(map(str, self.artifacts))
        return {**vars(self), "path": str(self.path), "artifacts": paths}


def package(
    artifacts: Sequence[str | Path],
    flavours: Iterable[str] = (),
    output_dir: str | Path = "dist",
    *,
    name: str | None = None,
    version: str | None = None,
    author: str | None = None,
    license: str | None = None,  # noqa: A002 - the field's own name
    processing: str | Path | None = None,
    allow_unverified: bool = False,
    max_bytes: int | None = None,
    key: str | Path | None = None,
    variants: bool = False,
    socs: Mapping[str, Sequence[str]] | None = None,
    benchmarks: Iterable[str | Path] = (),
) -> list[Package]:
    """Make packages for apps of artifacts that edgekit converted.

    Args:
        artifacts: Paths of artifacts, with their sidecars beside them.
        flavours: Names of flavours; none for all that take one of the artifacts.
        output_dir: Folder for the packages.
        name: Name of the packages; None for that of the first artifact.
        version: Their version; None for the one in the artifact, or `FIRST_VERSION`.
        author: Author of the model; None for the one in the artifact.
        license: Licence of the model; None for the one in the artifact.
        processing: TOML file that declares processing; None for what the source declares.
        allow_unverified: Whether to package an artifact that did not pass verification; the
            manifest says so.
        max_bytes: Largest size of a package; None for any.
        key: Private Ed25519 key in PEM to sign the packages with; None not to sign.
        variants: Whether a flavour puts all its artifacts into one package, which chooses among
            them; else each has a package of its own.
        socs: Systems on a chip by the variant that is chosen on them.
        benchmarks: Files with records of `edgekit benchmark --json`; those of the artifacts go into
            the manifest.

    Raises:
        ArtifactError: a file is not the one that its sidecar describes.
        UsageError: the arguments or the processing do not fit the artifacts.
        VerdictError: an artifact did not pass verification, or a package is too large.
    """
    if key is not None:
        _signature.load_private(Path(key))  # before anything is made
    opened = [open_artifact(Path(path)) for path in artifacts]
    measured = read_records(benchmarks, {artifact.sha256 for artifact in opened})
    cargoes = []
    for artifact in opened:
        given = declared.load(Path(processing)) if processing else declared.find(artifact.origin)
        unverified = _gate(artifact, allow=allow_unverified)
        facts = inspect(artifact.path).metadata
        card = Card(
            name or _name(opened[0].path),
            version or facts.get("version") or FIRST_VERSION,
            facts.get("description") or facts.get("shortDescription", ""),
            author or facts.get("author", ""),
            license or facts.get("license", ""),
        )
        _check_card(card)
        bound = bind(given, artifact.signature, facts.get("labels", "").split("\n"))
        recorded = _selfcheck.record(artifact, bound)
        records = tuple(each for each in measured if each["sha256"] == artifact.sha256)
        cargoes.append(
            Cargo(artifact, _content(artifact.path), bound, recorded, card, unverified, records)
        )
    planned = plan(cargoes, tuple(flavours), dict(socs or {}), together=variants)
    bundles = [(flavour, chosen, _build(flavour, chosen)) for flavour, chosen in planned]
    made = [
        _write(bundle, flavour, chosen, Path(output_dir), max_bytes)
        for flavour, chosen, bundle in bundles
    ]
    for each in made:
        _signature.signature_of(each.path).unlink(missing_ok=True)
        if key is not None:
            _signature.sign(each.path, Path(key))
    return made


@dataclass(frozen=True)
class Checked:
    """A package that is as edgekit made it.

    Attributes:
        manifest: Its manifest.
        signed_by: The Ed25519 key that signed it, in base64; empty when nobody did.
    """

    manifest: dict[str, Any]
    signed_by: str


def check(path: str | Path, key: str | Path | None = None) -> Checked:
    """Check a package, whoever handed it over.

    Args:
        path: The package; a signature is looked for beside it.
        key: Public Ed25519 key in PEM that must have signed it; None to accept any, or none.

    Raises:
        ArtifactError: it is not a package as edgekit made it, or its signature is wrong; says why.
        VerdictError: the key did not sign it.
    """
    path = Path(path)
    if not path.exists():
        raise ArtifactError(f"There is no package {path}.", "Check its path.")
    manifest = check_contents(path, _archive.read(path))
    return Checked(manifest, _signature.check(path, Path(key) if key is not None else None))


def check_contents(path: Path, files: Files) -> dict[str, Any]:
    """Check the files of a package that was read, and return its manifest.

    Args:
        path: What to call it in messages.
        files: Its files.

    Raises:
        ArtifactError: they are not as edgekit made them; says why.
    """
    where = _manifest.find(files)
    manifest = _manifest.read(files[where])
    try:
        flavour = registry.load("packages", manifest["flavour"])
    except UnknownNameError as error:
        raise ArtifactError(f"{path}: {error.message}", error.hint) from None
    found = flavour.check(files, manifest)
    _manifest.check_files(manifest, files, found.unlisted | {where})
    _manifest.check_models(manifest, found.carrier)
    return manifest


# -- The gate --------------------------------------------------------------------------------------


def _gate(artifact: Artifact, *, allow: bool) -> str:
    """Return why an artifact is not verified, if that is allowed; empty when it is verified."""
    verdict = artifact.verification
    if verdict is not None and verdict.status == PASSED:
        reason = ""
    elif verdict is None:
        reason = "it was never verified"
    else:
        reason = f"its verification {verdict.status.replace('_', ' ')}: {verdict.reason}"
    if reason and not allow:
        raise VerdictError(
            f"{artifact.path} is not packaged: {reason}",
            "Convert it again where a runtime can run it; --allow-unverified packages it as it is.",
        )
    if artifact.companions:
        raise ArtifactError(
            f"{artifact.path} keeps weights in files beside it, and packages hold single files."
        )
    return reason


def _check_card(card: Card) -> None:
    if not re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", card.name):
        raise UsageError(
            f"A package cannot be named {card.name!r}.",
            "Use lower-case words joined by underscores, e.g. --name digit_classifier.",
        )
    if not re.fullmatch(r"\d+(\.\d+){1,2}", card.version):
        raise UsageError(
            f"{card.version!r} is no version that every platform takes.",
            "Use two or three numbers, e.g. --model-version 1.2.0.",
        )


def _name(path: Path) -> str:
    """Return a file's name as a package's: ``My-Model.v2.onnx`` is ``my_model_v2``."""
    return re.sub("[^a-z0-9]+", "_", path.stem.lower()).strip("_")


# -- Building and writing --------------------------------------------------------------------------


def _build(flavour: str, cargoes: Sequence[Cargo]) -> Bundle:
    bundle: Bundle = registry.load("packages", flavour).build(cargoes)
    return bundle


def _content(path: Path) -> Files:
    if path.is_dir():
        return {f"{path.name}/{name}": data for name, data in _archive.read_folder(path).items()}
    return {path.name: path.read_bytes()}


def _write(
    bundle: Bundle, flavour: str, cargoes: Sequence[Cargo], folder: Path, max_bytes: int | None
) -> Package:
    """Put a bundle in its place, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".edgekit-", dir=folder) as draft:
        made = Path(draft) / bundle.name
        _archive.write(made, bundle.container, bundle.files)
        size = size_of(made)
        if max_bytes is not None and size > max_bytes:
            raise VerdictError(
                f"{bundle.name} would be {size} bytes, above the budget of {max_bytes}.",
                "A recipe with fewer bits makes the model smaller.",
            )
        move(made, folder / bundle.name)
    place = folder / bundle.name
    paths = tuple(cargo.artifact.path for cargo in cargoes)
    return Package(place, flavour, paths, sha256_of(place), size, bundle.notes)
