"""Inspection, identity and sidecars of model files."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit import inspection, registry
from edgekit.errors import ArtifactError, UsageError
from edgekit.hashing import sha256_of, size_of
from edgekit.wire import onnx, tflite

MODELS = Path(__file__).parent / "contracts" / "models"


@pytest.fixture(autouse=True)
def two_formats(monkeypatch):
    """Stand in for the formats, which have tests of their own."""
    formats = {
        "onnx": SimpleNamespace(SUFFIXES=(".onnx",), summarize=onnx.summarize),
        "tflite": SimpleNamespace(SUFFIXES=(".tflite",), summarize=tflite.summarize),
    }
    monkeypatch.setattr(registry, "load_all", lambda kind: {"formats": formats}[kind])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "affine.onnx"
    path.write_bytes((MODELS / "affine.onnx").read_bytes())
    return path


def test_inspection_of_a_foreign_file(model):
    found = inspection.inspect(model)
    assert (found.format, found.size_bytes) == ("onnx", model.stat().st_size)
    assert found.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert found.ops == {"Add": 2, "Mul": 1}
    assert list(found.ops) == ["Add", "Mul"]
    assert found.parameter_bytes == {"float32": 16, "int32": 4}
    assert found.details == {
        "ir_version": "8", "opset": "ai.onnx 17", "producer": "edgekit", "graph": "affine",
    }  # fmt: skip
    assert (found.provenance, found.notes) == (None, ())


def test_json_is_plain_data(model):
    data = json.loads(json.dumps(inspection.inspect(model).to_json()))
    assert data["schema_version"] == 1
    assert data["signature"]["outputs"][0] == {
        "name": "scaled",
        "dtype": "float32",
        "shape": [2, 3],
    }


@pytest.mark.parametrize(
    ("content", "provenance", "note"),
    [
        ('{"recipe": "fp32"}', {"recipe": "fp32"}, None),
        ('{"sha256": "0000"}', {"sha256": "0000"}, "The file changed after its sidecar"),
        ("{", None, "is not readable JSON"),
        ("\udcff", None, "is not readable JSON"),
        ("[" * 100_000, None, "is not readable JSON"),
        ("[1]", None, "is not an object"),
    ],
    ids=["good", "other-file", "cut", "no-text", "deep", "list"],
)
def test_sidecar(model, content, provenance, note):
    sidecar = model.with_name("affine.onnx.json")
    sidecar.write_bytes(content.encode(errors="surrogateescape"))
    found = inspection.inspect(model)
    assert found.provenance == provenance
    assert len(found.notes) == (note is not None)
    assert note is None or note in found.notes[0]


def test_unknown_ending_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError) as raised:
        inspection.inspect(tmp_path / "model.pb")
    assert raised.value.hint == "Known endings: .onnx, .tflite."


@pytest.mark.parametrize("name", ["absent.onnx", "absent.tflite"])
def test_missing_file_is_named(tmp_path, name):
    with pytest.raises(ArtifactError, match=name):
        inspection.inspect(tmp_path / name)


def test_identity_of_a_folder_is_that_of_its_listing(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"one")
    lines = [("a", b"one"), ("b/two", b"2")]
    listing = "".join(f"{name}\0{hashlib.sha256(data).hexdigest()}\n" for name, data in lines)
    assert sha256_of(tmp_path) == hashlib.sha256(listing.encode()).hexdigest()
    assert size_of(tmp_path) == 4


def test_identity_of_a_missing_file_is_an_error(tmp_path):
    for function in (sha256_of, size_of):
        with pytest.raises(ArtifactError, match="absent"):
            function(tmp_path / "absent")


def test_reading_needs_nothing_but_numpy():
    readers = "import sys, edgekit.inspection, edgekit.wire.onnx, edgekit.wire.tflite"
    code = f"{readers}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "ai_edge_litert",
        "coremltools",
        "flatbuffers",
        "google",
        "onnx",
        "onnxruntime",
        "torch",
    }
    assert not heavy & set(run.stdout.split())
