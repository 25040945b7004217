"""A Maven repository with one Android library: model, Java wrapper, and all that a build asks for.

The wrapper is plain Java but for the two lines that open the app's assets, so it also runs on a
JVM.  It is compiled against stubs of what it calls; without javac the library holds no classes, and
its sources are to be copied into the app.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.packages import Bundle, Card, Cargo, Checked, Files, _archive, _bom, _javac, _manifest
from edgekit.packages._java import wrapper_values
from edgekit.packages._kotlin import kotlin_values
from edgekit.packages._selfcheck import FILE_NAME, word_file, words_of
from edgekit.packages._templates import FOLDER, render

FORMATS = ("tflite", "onnx")
SUMMARY = "Android library in a Maven repository"
VARIANTS = True

GROUP = "edgekit.models"
_RUNTIMES = {
    "onnx": ("OnnxEngine", ("com.microsoft.onnxruntime", "onnxruntime-android", "1.22.0")),
    "tflite": ("TfliteEngine", ("com.google.ai.edge.litert", "litert", "1.4.0")),
}
_AAR_METADATA = b"aarFormatVersion=1.0\naarMetadataVersion=1.0\nminCompileSdk=1\n"
_CHECKSUMS = ("md5", "sha1", "sha256")
_NO_CLASSES = (
    "There is no javac here, so the library holds no classes: copy the files of its sources jar "
    "into the app, or package again with a JDK."
)


def build(cargoes: Sequence[Cargo]) -> Bundle:
    """Return the repository with the library of one artifact, or of variants of a model."""
    card, compiler = cargoes[0].card, _javac.version()
    toolchain = {"javac": compiler} if compiler else {}
    sources = _sources(cargoes)
    classes = _javac.compiled(sources, stubs()) if compiler else {}
    folder = f"{GROUP.replace('.', '/')}/{card.dashed}/{card.version}"
    stem = f"{folder}/{card.dashed}-{card.version}"
    when = _archive.build_time()
    library = _library(cargoes, classes, toolchain)
    runtimes = [_RUNTIMES[each][1] for each in _formats(cargoes)]
    values = {"card": card, "group": GROUP, "runtimes": runtimes}
    published = {
        f"{stem}.aar": _archive.zip_bytes(library, when),
        f"{stem}.pom": render("android/pom.xml", values),
        f"{stem}-sources.jar": _archive.zip_bytes(sources, when),
    }
    files = published | _checksums(published) | _kotlin(cargoes)
    manifest = _manifest.describe(cargoes, "android", _assets_folder(card), toolchain)
    files[_manifest.NAME] = _manifest.sealed(manifest, files)
    notes = () if compiler else (_NO_CLASSES,)
    return Bundle(f"{card.dashed}-{card.version}-android", "folder", files, notes)


def check(files: Files, manifest: Mapping[str, Any]) -> Checked:
    """Check the repository's checksums and the library in it, or a library by itself."""
    libraries = [name for name in files if name.endswith(".aar")]
    if not libraries:
        return Checked(files)
    library = _archive.unzipped(libraries[0], files[libraries[0]])
    inner = _manifest.read(library[_manifest.find(library)])
    _manifest.check_files(inner, library, {_manifest.find(library)})
    if inner["variants"] != manifest["variants"]:
        raise ArtifactError(f"{libraries[0]} holds other models than {_manifest.NAME} says.")
    published = {name: files[name] for name in files if PurePosixPath(name).suffix in _PUBLISHED}
    for name, content in _checksums(published).items():
        if files.get(name) != content:
            raise ArtifactError(f"The checksum {name} is missing or wrong.")
    return Checked(library)


_PUBLISHED = (".aar", ".pom", ".jar")


def _checksums(published: Files) -> Files:
    """Return the checksum files that Maven repositories keep beside each file."""
    return {
        f"{name}.{kind}": hashlib.new(kind, content, usedforsecurity=False).hexdigest().encode()
        for name, content in published.items()
        for kind in _CHECKSUMS
    }


def _library(cargoes: Sequence[Cargo], classes: Files, toolchain: Mapping[str, str]) -> Files:
    """Return the content of the ``.aar``."""
    card = cargoes[0].card
    folder = _assets_folder(card)
    values = {"package": _package_name(card), "formats": _formats(cargoes)}
    files = {f"{folder}{path}": data for path, data in _assets(cargoes).items()}
    files |= {
        "AndroidManifest.xml": render("android/AndroidManifest.xml", values),
        "R.txt": b"",
        "classes.jar": _archive.zip_bytes(classes, _archive.build_time()),
        "proguard.txt": render("android/proguard.txt", values),
        "META-INF/com/android/build/gradle/aar-metadata.properties": _AAR_METADATA,
    }
    manifest = _manifest.describe(cargoes, "android", folder, toolchain)
    return files | {f"{folder}{_manifest.NAME}": _manifest.sealed(manifest, files)}


def _assets(cargoes: Sequence[Cargo]) -> Files:
    steps = cargoes[0].bound.before
    files = {word_file(step): words_of(step) for step in steps if step.kind == "tokens"}
    for cargo in cargoes:
        own = {**cargo.model, FILE_NAME: cargo.selfcheck.data}
        files |= {f"{cargo.folder}{path}": content for path, content in own.items()}
    return {**files, _bom.NAME: _bom.describe(cargoes)}


def _assets_folder(card: Card) -> str:
    return f"assets/{card.name}/"


def _formats(cargoes: Sequence[Cargo]) -> list[str]:
    return [each for each in FORMATS if each in {cargo.artifact.format for cargo in cargoes}]


def _package_name(card: Card) -> str:
    return f"{GROUP}.{card.name}"


def _sources(cargoes: Sequence[Cargo]) -> Files:
    """Return the Java files: the wrapper, and what it is written in terms of."""
    card, engines = cargoes[0].card, {key: name for key, (name, _) in _RUNTIMES.items()}
    values = {**wrapper_values(cargoes, engines), "package": _package_name(card)}
    folder = _package_name(card).replace(".", "/")
    others = {name for key, name in engines.items() if key not in _formats(cargoes)}
    files = {}
    for path in sorted((FOLDER / "android" / "java").glob("*.java.j2")):
        name = path.name.removesuffix(".java.j2")
        if name not in others:
            place = card.class_name if name == "Wrapper" else name
            files[f"{folder}/{place}.java"] = render(f"android/java/{name}.java", values)
    return files


def _kotlin(cargoes: Sequence[Cargo]) -> Files:
    """Return the Kotlin wrapper, for the app to compile."""
    card = cargoes[0].card
    values = {**kotlin_values(cargoes[0]), "package": _package_name(card)}
    values["variants"] = [cargo.variant for cargo in cargoes if cargo.variant]
    place = f"kotlin/{_package_name(card).replace('.', '/')}/ktx/{card.class_name}.kt"
    return {place: render("android/Wrapper.kt", values)}


def stubs() -> Files:
    """Return Java files of what the wrapper calls and the app provides."""
    root = FOLDER / "android" / "stubs"
    return {
        path.relative_to(root).as_posix().removesuffix(".j2"): path.read_bytes()
        for path in sorted(root.rglob("*.j2"))
    }
