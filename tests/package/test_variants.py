"""Several variants of one model in one package, and the chooser."""

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET

import jvm
import numpy as np
import pytest
import tree_sitter_kotlin
from conftest import EACH, SAMPLES
from grammar import faults
from test_android import check_table, needs_jdk
from test_packaging import run

import edgekit
from edgekit.artifact import open_artifact, sidecar_of
from edgekit.errors import UsageError
from edgekit.packages import _archive, _variants
from edgekit.packaging import check, package
from edgekit.processing.binding import bind, prepare
from edgekit.processing.declared import find


@pytest.fixture(scope="module")
def both(converted, tmp_path_factory):
    """Return a package with both formats of a model."""
    paths = [converted("sentiment_transformer", each) for each in ("tflite", "onnx")]
    folder = tmp_path_factory.mktemp("variants")
    (made,) = package(paths, ["android"], folder, variants=True, socs={"onnx": ["S1", "S2"]})
    return made.path


def test_one_package_holds_both(both):
    manifest = check(both).manifest
    assert [(v["name"], v["socs"]) for v in manifest["variants"]] == [
        ("tflite", []),
        ("onnx", ["S1", "S2"]),
    ]
    (pom,) = both.rglob("*.pom")
    names = {"m": "http://maven.apache.org/POM/4.0.0"}
    runtimes = ET.parse(pom).getroot().findall(".//m:dependency/m:artifactId", names)
    assert [each.text for each in runtimes] == ["litert", "onnxruntime-android"]
    (library,) = both.rglob("*.aar")
    files = _archive.read(library)
    folder = "assets/sentiment_transformer/"
    assert {name.removeprefix(folder) for name in files if name.startswith(folder)} == {
        "edgekit-manifest.json",
        "edgekit-bom.cdx.json",
        "review_words.txt",
        "tflite/sentiment_transformer.tflite",
        "tflite/selfcheck.bin",
        "onnx/sentiment_transformer.onnx",
        "onnx/selfcheck.bin",
    }
    bill = json.loads(files[f"{folder}edgekit-bom.cdx.json"])
    assert [each["hashes"][0]["content"] for each in bill["components"]] == [
        variant["model"]["sha256"] for variant in manifest["variants"]
    ]
    proguard = files["proguard.txt"].decode()
    assert "ai.onnxruntime" in proguard
    assert "org.tensorflow.lite" in proguard


@needs_jdk
@pytest.mark.parametrize("variant", ["tflite", "onnx"])
def test_each_variant_checks_itself_on_a_jvm(variant, both, converted, tmp_path):
    path = converted("sentiment_transformer", variant)
    bound = bind(find(str(SAMPLES / "sentiment_transformer.py")), open_artifact(path).signature)
    made = jvm.Wrapper(both, bound, tmp_path, variant.upper())
    with edgekit.open(path) as session:
        outputs = [session.run(prepare(bound, each)) for each in check_table(made)]
    made.call("check", b"".join(map(jvm.outputs_of, outputs)))
    outputs[0]["logits"] = outputs[0]["logits"] + np.float32(1)
    with pytest.raises(RuntimeError, match="sample 1, output logits is off by"):
        made.call("check", b"".join(map(jvm.outputs_of, outputs)))


CHOOSER = """
import edgekit.models.sentiment_transformer.SentimentTransformer;
public final class Chooser {
    public static void main(String[] chips) {
        for (String chip : chips) System.out.println(SentimentTransformer.choose(chip));
    }
}
"""


@needs_jdk
def test_the_chip_chooses(both, tmp_path):
    (library,) = both.rglob("*.aar")
    (tmp_path / "classes.jar").write_bytes(_archive.read(library)["classes.jar"])
    (tmp_path / "Chooser.java").write_text(CHOOSER)
    command = ["java", "-cp", "classes.jar", "Chooser.java", "S2", "other", ""]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ONNX", "TFLITE", "TFLITE"]


@pytest.mark.parametrize("name", ["both", *EACH])
def test_kotlin_is_kotlin(name, request, packed):
    several = name == "both"
    repository = request.getfixturevalue(name) if several else packed(name, "onnx", "android")
    (source,) = (repository / "kotlin").rglob("*.kt")
    assert faults(tree_sitter_kotlin, source.read_bytes()) == []
    assert faults(tree_sitter_kotlin, b"class X { fun }")


def test_recipes_of_one_format_are_variants(converted, tmp_path):
    kept = converted("digit_classifier", "onnx")
    other = tmp_path / "other" / kept.name
    other.parent.mkdir()
    shutil.copy(kept, other)
    record = json.loads(sidecar_of(kept).read_text())
    sidecar_of(other).write_text(json.dumps(record | {"recipe": "fp16"}))
    (made,) = package([kept, other], ["android"], tmp_path / "d", variants=True)
    assert [v["name"] for v in check(made.path).manifest["variants"]] == ["fp32", "fp16"]
    third = [*(kept, other), converted("digit_classifier", "tflite")]
    (made,) = package(third, ["android"], tmp_path / "d", variants=True)
    names = [v["name"] for v in check(made.path).manifest["variants"]]
    assert names == ["onnx_fp32", "onnx_fp16", "tflite_fp32"]


def test_what_are_no_variants(converted, tmp_path):
    digits = [converted("digit_classifier", each) for each in ("onnx", "tflite")]
    with pytest.raises(UsageError, match="not variants of one model"):
        package(
            [digits[0], converted("sentiment_transformer", "tflite")],
            ["android"],
            tmp_path,
            variants=True,
        )
    with pytest.raises(UsageError, match="no packages with variants"):
        package(digits, ["linux"], tmp_path, variants=True)
    with pytest.raises(UsageError, match="no variant 'fp16' to choose"):
        package(digits, ["android"], tmp_path, variants=True, socs={"fp16": ["S1"]})
    with pytest.raises(UsageError, match="Two variants are meant for one"):
        package(digits, ["android"], tmp_path, variants=True, socs={"onnx": ["S"], "tflite": ["S"]})
    with pytest.raises(UsageError, match="Only variants are chosen by chip"):
        package(digits, ["android"], tmp_path, socs={"onnx": ["S1"]})
    with pytest.raises(UsageError, match="nothing that tells one from another"):
        _variants._names([_cargo(digits[0])] * 2)
    assert not list(tmp_path.iterdir())


def _cargo(path):
    return type("Cargo", (), {"artifact": open_artifact(path)})()


def test_command_names_variants_and_chips(converted, tmp_path, capsys):
    paths = [converted("digit_classifier", each) for each in ("onnx", "tflite")]
    given = (*paths, "--for", "android", "-o", tmp_path)
    assert run(*given, "--variants", "--soc", "tflite=A,B") == 0
    (made,) = tmp_path.iterdir()
    assert check(made).manifest["variants"][1]["socs"] == ["A", "B"]
    assert "digit_classifier.onnx, digit_classifier.tflite" in capsys.readouterr().out
    assert run(*given, "--soc", "tflite") == 2
