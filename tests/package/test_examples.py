"""The examples in the documentation, as far as this machine can take them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tree_sitter_swift
from grammar import faults

from edgekit.packages import _archive, android

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def test_linux_script_classifies(packed, tmp_path):
    _archive.write(
        tmp_path / "site", "folder", _archive.read(packed("sentiment_transformer", "onnx", "linux"))
    )
    done = subprocess.run(
        [sys.executable, EXAMPLES / "linux/classify.py", "The music was excellent ."],
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("positive: ")


@pytest.mark.skipif(not shutil.which("javac"), reason="needs a JDK")
def test_android_module_compiles_against_the_library(packed, tmp_path):
    (library,) = packed("digit_classifier", "tflite", "android").rglob("*.aar")
    (tmp_path / "classes.jar").write_bytes(_archive.read(library)["classes.jar"])
    _archive.write(tmp_path / "stubs", "folder", android.stubs())
    source = EXAMPLES / "android/src/main/java/app/Digits.java"
    command = ["javac", "-cp", "classes.jar", "-sourcepath", "stubs", "-d", "out", str(source)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", ["Package.swift", "Sources/App/main.swift"])
def test_apple_consumer_is_swift(file):
    assert faults(tree_sitter_swift, (EXAMPLES / "apple" / file).read_bytes()) == []


def test_build_files_name_what_is_packaged(packed):
    repository = packed("digit_classifier", "tflite", "android")
    settings = (EXAMPLES / "android/settings.gradle.kts").read_text()
    assert f'uri("{repository.name}")' in settings
    (pom,) = repository.rglob("*.pom")
    group, artifact, version = pom.parents[2].relative_to(repository), *pom.parts[-3:-1]
    address = f"{'.'.join(group.parts)}:{artifact}:{version}"
    assert f'implementation("{address}")' in (EXAMPLES / "android/build.gradle.kts").read_text()
