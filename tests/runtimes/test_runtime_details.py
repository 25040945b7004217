"""What single runtimes do beyond the contract that all of them share."""

import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ArtifactError
from edgekit.runtimes import coreml, open_session, tflite_runtime
from edgekit.tensors import Dim
from edgekit.wire.mlprogram import read_model

CONTRACTS = Path(__file__).parents[1] / "contracts"
sys.path.append(str(CONTRACTS))  # for make_models

from make_models import TFLiteGraph  # noqa: E402


def test_flex_operator_is_refused_with_the_runtime_that_has_it(tmp_path):
    graph = TFLiteGraph()
    graph.tensor("x", "FLOAT32", [2])
    graph.tensor("y", "FLOAT32", [2])
    graph.op("CUSTOM", ["x"], ["y"], custom=b"FlexErf")
    graph.border(["x"], ["y"])
    path = tmp_path / "flex.tflite"
    path.write_bytes(graph.pack())
    with pytest.raises(ArtifactError, match=r"LiteRT cannot open .*flex\.tflite") as raised:
        open_session(path, "tflite", runtime="litert")
    assert "'tensorflow'" in raised.value.hint


def test_tflite_output_given_under_two_names(tmp_path):
    graph = TFLiteGraph()
    graph.tensor("x", "FLOAT32", [2])
    graph.tensor("y", "FLOAT32", [2])
    graph.op("NEG", ["x"], ["y"], "NegOptions")
    graph.border(["x"], ["y", "x"])
    graph.signature("run", {"in": "x"}, {"b": "y", "a": "y", "c": "x"})
    path = tmp_path / "twice.tflite"
    path.write_bytes(graph.pack())
    with open_session(path, "tflite", runtime="litert") as session:
        outputs = session.run({"in": np.array([1, -2], np.float32)})
    assert {name: list(array) for name, array in outputs.items()} == {
        "a": [-1, 2], "b": [-1, 2], "c": [1, -2],
    }  # fmt: skip


def test_onnx_weights_that_are_missing_are_a_clear_error(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(CONTRACTS / "models" / "affine.onnx")
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="w.bin")
    with open_session(path, "onnx") as session:
        feeds = {"x": np.ones((2, 3)), "ids": np.zeros(2, int)}
        assert session.run(feeds, ["product"])["product"].tolist() == [[1, 2, 4]] * 2
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ArtifactError, match=r"ONNX Runtime cannot open .*model\.onnx: .*w\.bin"):
        open_session(path, "onnx")


@pytest.mark.parametrize(("version", "clash"), [("1.26.4", False), ("2.0.0", True)])
def test_tflite_runtime_names_the_numpy_that_it_cannot_use(monkeypatch, version, clash):
    monkeypatch.setattr(tflite_runtime, "missing", lambda *_: None)
    monkeypatch.setattr(np, "__version__", version)
    reason = tflite_runtime.unavailable()
    assert (reason is not None) == clash
    if reason is not None:
        assert "numpy older than 2, and 2.0.0 is here" in reason.message
        assert "numpy<2" in (reason.hint or "")


@pytest.mark.parametrize("model", ["affine", "dynamic"])
def test_coreml_signature_is_read_without_core_ml(model):
    interface = read_model(CONTRACTS / "models" / f"{model}.mlpackage").interface
    inputs = [coreml._spec(feature) for feature in interface.inputs]
    x = (2, 3) if model == "affine" else (Dim("x_0", 1, 64), 3)
    assert inputs[0].shape == x
    assert coreml._spec(interface.outputs[0]).name in ("scaled", "doubled")
