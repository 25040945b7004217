"""The Android library: its layout, and its wrapper run on a JVM against the reference."""

import shutil
import struct
import xml.etree.ElementTree as ET

import jvm
import numpy as np
import pytest
from conftest import EACH, SAMPLES

import edgekit
from edgekit.artifact import open_artifact
from edgekit.errors import ArtifactError
from edgekit.packages import _archive, _javac, _selfcheck, android
from edgekit.packaging import check, package
from edgekit.processing.binding import bind, finish, prepare
from edgekit.processing.declared import find

CASES = 100
needs_jdk = pytest.mark.skipif(not shutil.which("javac"), reason="needs a JDK: javac and java")


def bound_of(name, path):
    return bind(find(str(SAMPLES / f"{name}.py")), open_artifact(path).signature)


@pytest.fixture
def wrapper(packed, converted, tmp_path):
    """Return a function from a sample and a format to its wrapper, ready to run."""

    def compiled(name, format_name):
        bound = bound_of(name, converted(name, format_name))
        folder = tmp_path / format_name
        folder.mkdir()
        return jvm.Wrapper(packed(name, format_name, "android"), bound, folder)

    return compiled


def flat(kind, value):
    """Return a result of the reference as the harness writes it."""
    if kind == "classes":
        return np.array([x for each in value for x in (each.index, each.score)])
    return np.asarray(value, np.float64).reshape(-1)


@needs_jdk
@pytest.mark.parametrize("name", EACH)
def test_java_is_the_reference(name, wrapper, converted):
    made = wrapper(name, "onnx")
    random = np.random.RandomState(11)
    content, expected = struct.pack(">i", CASES), []
    with edgekit.open(converted(name, "onnx")) as session:
        for _ in range(CASES):
            given = {step.name: _selfcheck.example(step, random) for step in made.bound.before}
            feeds = prepare(made.bound, given)
            outputs = session.run(feeds)
            content += made.encoded(given) + jvm.outputs_of(outputs)
            expected += [feeds[spec.name].reshape(-1) for spec in made.bound.signature.inputs]
            results = finish(made.bound, outputs)
            expected += [flat(step.kind, results[step.name]) for step in made.bound.after]
    stream = made.call("parity", content)
    exact = name != "keyword_spotter"  # its logarithms and cosines are the platform's
    for wanted in expected:
        found = jvm.read_doubles(stream)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
        if exact and wanted.dtype == np.float32:
            np.testing.assert_array_equal(found.astype(np.float32), wanted)
    assert stream.read() == b""


@needs_jdk
@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("sentiment_transformer", "onnx"),
        pytest.param("shape_segmenter", "tflite", marks=pytest.mark.slow),
        pytest.param("gesture_gru", "tflite", marks=pytest.mark.slow),
    ],
)
def test_self_check_passes_on_a_jvm_and_finds_a_wrong_model(name, format_name, wrapper, converted):
    made = wrapper(name, format_name)
    table = check_table(made)
    with edgekit.open(converted(name, format_name)) as session:
        outputs = [session.run(prepare(made.bound, each)) for each in table]
    made.call("check", b"".join(map(jvm.outputs_of, outputs)))
    last = next(iter(outputs[2]))
    outputs[2][last] = outputs[2][last] + np.abs(outputs[2][last]).max() * np.float32(0.01)
    with pytest.raises(RuntimeError, match=f"sample 3, output {last} is off by"):
        made.call("check", b"".join(map(jvm.outputs_of, outputs)))


def check_table(made):
    """Return the arguments that the self-check recorded."""
    random = np.random.RandomState(0)
    return [
        {step.name: _selfcheck.example(step, random) for step in made.bound.before}
        for _ in range(_selfcheck.SAMPLES)
    ]


@pytest.mark.parametrize(
    ("format_name", "runtime"), [("onnx", "onnxruntime-android"), ("tflite", "litert")]
)
def test_repository_is_laid_out_as_maven_has_it(packed, format_name, runtime):
    repository = packed("digit_classifier", format_name, "android")
    folder = repository / "edgekit/models/digit-classifier/0.1.0"
    stem = "digit-classifier-0.1.0"
    assert {path.name for path in folder.iterdir()} == {
        f"{stem}{end}{checksum}"
        for end in (".aar", ".pom", "-sources.jar")
        for checksum in ("", ".md5", ".sha1", ".sha256")
    }
    pom = ET.parse(folder / f"{stem}.pom").getroot()
    names = {"m": "http://maven.apache.org/POM/4.0.0"}
    assert pom.findtext("m:packaging", namespaces=names) == "aar"
    assert pom.findtext(".//m:dependency/m:artifactId", namespaces=names) == runtime
    library = _archive.read(folder / f"{stem}.aar")
    assert {"AndroidManifest.xml", "classes.jar", "R.txt", "proguard.txt"} <= set(library)
    ET.fromstring(library["AndroidManifest.xml"])
    assert f"assets/digit_classifier/digit_classifier.{format_name}" in library


def test_library_checks_alone_and_in_its_repository(packed, tmp_path):
    kept = packed("digit_classifier", "onnx", "android")
    repository = tmp_path / "repository"
    shutil.copytree(kept, repository)
    assert check(repository).manifest["flavour"] == "android"
    (library,) = repository.rglob("*.aar")
    assert check(library).manifest["flavour"] == "android"
    (checksum,) = repository.rglob("*.aar.sha1")
    checksum.write_text("0" * 40)
    with pytest.raises(ArtifactError, match=r"checksum .* is missing or wrong"):
        check(repository)
    library.write_bytes(library.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match=r"zip archive|does not write"):
        check(repository)


def test_without_javac_the_sources_are_the_package(converted, tmp_path, monkeypatch):
    monkeypatch.setattr(_javac, "version", lambda: None)
    (made,) = package([converted("digit_classifier", "onnx")], ["android"], tmp_path)
    assert made.notes == (android._NO_CLASSES,)
    (sources,) = made.path.rglob("*-sources.jar")
    assert any(name.endswith("/DigitClassifier.java") for name in _archive.read(sources))
    assert check(made.path).manifest["toolchain"] == {}
