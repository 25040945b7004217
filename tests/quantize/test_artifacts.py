"""One calibrated program in three formats: integer kernels, the same scales, two errors apart."""

import json
from collections import Counter

import flatbuffers
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

import edgekit
from edgekit.errors import UsageError
from edgekit.quantize import dialects
from edgekit.recipe import load_recipe
from edgekit.verification import verify_file
from tests.in_process import convert

FORMATS = ("onnx", "tflite", "coreml")
OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


def tflite(path):
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    names = [OPERATORS[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    return model, model.subgraphs[0], names


@pytest.mark.parametrize("name", FORMATS)
def test_the_artifact_equals_the_quantized_graph(artifacts, name) -> None:
    verdict = artifacts.verdict(name)
    assert verdict.status == "passed"
    assert verdict.sqnr_db >= verdict.quantization_sqnr_db + 25
    assert 25 < verdict.quantization_sqnr_db < 60
    assert verdict.calibration == "calibrated on 16 samples of memory"


@pytest.mark.parametrize("name", FORMATS)
def test_the_record_keeps_both_errors(artifacts, name) -> None:
    path = artifacts[name]
    record = json.loads(path.with_name(path.name + ".json").read_text())["verification"]
    assert record["quantization_sqnr_db"] == artifacts.verdict(name).quantization_sqnr_db
    assert "16 samples" in record["calibration"]


def test_tflite_has_no_float_operator_inside(artifacts) -> None:
    _, graph, names = tflite(artifacts["tflite"])
    floats = Counter(
        names[op.opcodeIndex]
        for op in graph.operators
        if any(graph.tensors[i].type == schema.TensorType.FLOAT32 for i in op.outputs)
    )
    moving = {"TRANSPOSE", "RESHAPE"}  # of the input, before it is quantized
    assert set(floats) - moving == {"DEQUANTIZE"}
    assert floats["DEQUANTIZE"] == 1
    assert graph.tensors[graph.inputs[0]].type == schema.TensorType.FLOAT32


def test_onnx_runtime_fuses_every_layer(artifacts, tmp_path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(artifacts["onnx"], options)
    found = Counter(n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert found["QLinearConv"] == 3
    assert found["QGemm"] == 1
    assert found["QLinearAdd"] == 1
    assert not {"Conv", "Gemm", "Add", "Relu", "Clip", "Concat"} & set(found)


def test_what_runs_in_integers_is_on_record(artifacts) -> None:
    onnx_found, tflite_found = (artifacts.verdict(name).placement for name in ("onnx", "tflite"))
    assert onnx_found["integer"] == {
        "QLinearConv": 3,
        "QGemm": 1,
        "QLinearAdd": 1,
        "QLinearConcat": 1,
        "QLinearGlobalAveragePool": 1,
    }
    assert (onnx_found["floating"], onnx_found["share"]) == ({}, 1.0)
    assert {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 1}.items() <= tflite_found["integer"].items()
    assert tflite_found["floating"] == {}
    assert tflite_found["share"] == 1.0
    assert artifacts.verdict("coreml").placement is None


def test_onnx_has_signed_weights_and_unsigned_activations(artifacts) -> None:
    """What ONNX Runtime's fast kernels on x86 take; on ARM any mixture is as fast."""
    model = onnx.load(artifacts["onnx"])
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    stored = [
        n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in types
    ]
    kinds = Counter(types[node.input[0]] for node in stored)
    assert kinds == {onnx.TensorProto.INT8: 4, onnx.TensorProto.INT32: 4}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert types[node.input[2]] == onnx.TensorProto.UINT8


def test_the_formats_share_the_scales_of_weights(artifacts, quantized) -> None:
    stored = dialects.stored_tensors(quantized.exported)
    constants = dialects.dequantized_constants(quantized.exported)
    wanted = sorted(
        tuple(stored[node.args[1].name].float().tolist())
        for node in constants
        if stored[node.args[0].name].dtype is torch.int8
    )
    _, graph, names = tflite(artifacts["tflite"])
    layers = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    weights = [
        graph.tensors[op.inputs[1]] for op in graph.operators if names[op.opcodeIndex] in layers
    ]
    assert sorted(tuple(map(float, w.quantization.scale)) for w in weights) == wanted
    model = onnx.load(artifacts["onnx"])
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    scales = [
        values[node.input[1]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and values.get(node.input[0], np.zeros(0)).dtype == np.int8
    ]
    assert sorted(tuple(map(float, each)) for each in scales) == wanted


def test_int8_weights_are_stored_once(artifacts) -> None:
    """No float copy stays behind."""
    for name in ("onnx", "tflite"):
        summary = edgekit.inspect(artifacts[name])
        assert summary.parameter_bytes["float32" if name == "onnx" else "int32"] < 700, name
        assert summary.parameter_bytes.get("float32", 0) < 700
    assert edgekit.inspect(artifacts["coreml"]).parameter_bytes["int8"] > 300


def test_a_wrong_scale_fails_verification(artifacts, quantized, tmp_path) -> None:
    """The guard that the figures above rest on: one weight's scales are 20 % off."""
    model, graph, _ = tflite(artifacts["tflite"])
    weight = next(
        t for t in graph.tensors if t.quantization is not None and np.size(t.quantization.scale) > 1
    )
    weight.quantization.scale = weight.quantization.scale * np.float32(1.2)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    spoiled = tmp_path / "spoiled.tflite"
    spoiled.write_bytes(builder.Output())
    bounds = load_recipe("int8").tolerance
    facts = (quantized.signature, quantized.samples, quantized.references, bounds)
    assert verify_file(artifacts["tflite"], "tflite", *facts).status == "passed"
    verdict = verify_file(spoiled, "tflite", *facts)
    assert verdict.status == "failed"
    assert "SQNR" in verdict.reason


def test_gates_and_attention_survive_and_random_data_is_said(attention, image, tmp_path) -> None:
    """A sigmoid has a fixed scale, which its readers must share; attention stays in float."""
    report = convert(
        attention,
        (image,),
        recipe="int8",
        calibration="random",
        output_dir=tmp_path,
        use_cache=False,
    )
    for result in report.results:
        assert result.status == "passed", result.error or result.verification
        assert "RANDOM" in result.verification.calibration
    _, graph, names = tflite(report.results[1].artifact.path)
    used = {names[op.opcodeIndex]: graph.tensors[op.outputs[0]] for op in graph.operators}
    assert used["LOGISTIC"].type == schema.TensorType.INT8
    assert used["LOGISTIC"].quantization.scale[0] == np.float32(1 / 256)
    assert used["SOFTMAX"].type == schema.TensorType.FLOAT32
    assert used["FULLY_CONNECTED"].type == schema.TensorType.INT8


class Shuffled(nn.Module):
    """Half of the channels go through a layer, the others around it; then they change places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 3), nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        first, second = self.stem(image).chunk(2, 1)
        second = torch.relu(self.one(nn.functional.pad(second, (0, 2, 0, 2))))
        joined = torch.cat([first, second], 1)  # a ReLU in a range with negative values
        groups = joined.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        return self.head(torch.cat(torch.split(groups, [2, 6], 1)[::-1], 1))


def test_what_moves_and_clamps_is_done_on_integers(image, calibration, tmp_path) -> None:
    torch.manual_seed(0)
    report = convert(
        Shuffled().eval(),
        (image,),
        formats=["onnx", "tflite"],
        recipe="int8",
        calibration=calibration,
        output_dir=tmp_path,
    )
    for result in report.results:
        assert result.status == "passed", result.error or result.verification
        assert result.verification.placement["floating"] == {}


def test_an_ios_without_quantize_operations_is_refused(
    network, image, calibration, tmp_path
) -> None:
    report = convert(
        network,
        (image,),
        formats=["coreml"],
        recipe="int8",
        calibration=calibration,
        output_dir=tmp_path,
        options={"ios": 16},
        use_cache=False,
    )
    assert "from iOS 17 on" in report.results[0].error.message


def test_static_recipes_ask_for_data(network, image, tmp_path) -> None:
    with pytest.raises(UsageError, match="needs calibration data"):
        convert(network, (image,), recipe="int8", output_dir=tmp_path)
