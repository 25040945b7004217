"""Fixtures for packages: the sample models, converted once for all tests."""

import os
from pathlib import Path

import pytest

from edgekit.packaging import package
from tests import in_process

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
NAMES = sorted(
    path.stem for path in SAMPLES.glob("*.py") if "\ndef build(" in path.read_text(encoding="utf-8")
)
FEW = ("digit_classifier", "sentiment_transformer")  # pictures and texts; the others are slow
EACH = [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in NAMES]
SUFFIXES = {"onnx": ".onnx", "tflite": ".tflite", "coreml": ".mlpackage"}


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """Return a function from (sample, format) to an artifact, converted at its first use.

    EDGEKIT_SAMPLE_ARTIFACTS may name a folder that keeps them between runs.
    """
    kept = os.environ.get("EDGEKIT_SAMPLE_ARTIFACTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("artifacts")

    def convert(name: str, format_name: str) -> Path:
        path = folder / (name + SUFFIXES[format_name])
        if not path.exists():
            source = str(SAMPLES / f"{name}.py")
            report = in_process.convert(source, formats=[format_name], output_dir=folder)
            assert report.results[0].status == "passed", report.results[0].error
        return path

    return convert


@pytest.fixture(scope="session")
def packed(converted, tmp_path_factory):
    """Return a function from (sample, format, flavour) to a package, made at its first use."""
    made = {}

    def pack(name: str, format_name: str, flavour: str) -> Path:
        key = (name, format_name, flavour)
        if key not in made:
            folder = tmp_path_factory.mktemp("dist")
            (result,) = package([converted(name, format_name)], [flavour], folder)
            made[key] = result.path
        return made[key]

    return pack
