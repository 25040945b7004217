"""A Maven repository with one Android library: model, Java wrapper, and all that a build asks for.

The wrapper is plain Java but for the two lines that open the app's assets, so it also runs on a
JVM.  It is compiled against stubs of what it calls; without javac the library holds no classes, and
its sources are to be copied into the app.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.packages import Bundle, Cargo, Checked, Files, _archive, _bom, _javac, _manifest
from edgekit.packages._java import wrapper_values
from edgekit.packages._selfcheck import FILE_NAME, word_file, words_of
from edgekit.packages._templates import FOLDER, render

FORMATS = ("tflite", "onnx")
SUMMARY = "Android library in a Maven repository"

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


def build(cargo: Cargo) -> Bundle:
    """Return the repository with the library of one artifact."""
    card, compiler = cargo.card, _javac.version()
    toolchain = {"javac": compiler} if compiler else {}
    sources = _sources(cargo)
    classes = _javac.compiled(sources, _stubs()) if compiler else {}
    folder = f"{GROUP.replace('.', '/')}/{card.dashed}/{card.version}"
    stem = f"{folder}/{card.dashed}-{card.version}"
    when = _archive.build_time()
    library = _library(cargo, classes, toolchain)
    values = {"card": card, "group": GROUP, "runtime": _RUNTIMES[cargo.artifact.format][1]}
    published = {
        f"{stem}.aar": _archive.zip_bytes(library, when),
        f"{stem}.pom": render("android/pom.xml", values),
        f"{stem}-sources.jar": _archive.zip_bytes(sources, when),
    }
    files = published | _checksums(published)
    manifest = _manifest.describe(cargo, "android", _model_path(cargo), toolchain)
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
    if inner["model"] != manifest["model"]:
        raise ArtifactError(f"{libraries[0]} holds another model than {_manifest.NAME} says.")
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


def _library(cargo: Cargo, classes: Files, toolchain: Mapping[str, str]) -> Files:
    """Return the content of the ``.aar``."""
    engine = _RUNTIMES[cargo.artifact.format][0]
    values = {"package": _package_name(cargo), "engine": engine}
    files = {f"assets/{cargo.card.name}/{path}": data for path, data in _assets(cargo).items()}
    files |= {
        "AndroidManifest.xml": render("android/AndroidManifest.xml", values),
        "R.txt": b"",
        "classes.jar": _archive.zip_bytes(classes, _archive.build_time()),
        "proguard.txt": render("android/proguard.txt", values),
        "META-INF/com/android/build/gradle/aar-metadata.properties": _AAR_METADATA,
    }
    manifest = _manifest.describe(cargo, "android", _model_path(cargo), toolchain)
    return files | {f"assets/{cargo.card.name}/{_manifest.NAME}": _manifest.sealed(manifest, files)}


def _assets(cargo: Cargo) -> Files:
    words = {
        word_file(step): words_of(step) for step in cargo.bound.before if step.kind == "tokens"
    }
    return {
        **cargo.model,
        **words,
        FILE_NAME: cargo.selfcheck.data,
        _bom.NAME: _bom.describe(cargo),
    }


def _model_path(cargo: Cargo) -> str:
    return f"assets/{cargo.card.name}/{cargo.artifact.path.name}"


def _package_name(cargo: Cargo) -> str:
    return f"{GROUP}.{cargo.card.name}"


def _sources(cargo: Cargo) -> Files:
    """Return the Java files: the wrapper, and what it is written in terms of."""
    engine = _RUNTIMES[cargo.artifact.format][0]
    values = {**wrapper_values(cargo, engine), "package": _package_name(cargo)}
    folder = _package_name(cargo).replace(".", "/")
    other = {name for name, _ in _RUNTIMES.values()} - {engine}
    files = {}
    for path in sorted((FOLDER / "android" / "java").glob("*.java.j2")):
        name = path.name.removesuffix(".java.j2")
        if name not in other:
            place = cargo.card.class_name if name == "Wrapper" else name
            files[f"{folder}/{place}.java"] = render(f"android/java/{name}.java", values)
    return files


def _stubs() -> Files:
    root = FOLDER / "android" / "stubs"
    return {
        path.relative_to(root).as_posix().removesuffix(".j2"): path.read_bytes()
        for path in sorted(root.rglob("*.j2"))
    }
