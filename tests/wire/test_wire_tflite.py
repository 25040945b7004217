"""The TFLite reader against the schema's own generated code, and against damage."""

import tracemalloc

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from damage import cuts, flips
from make_models import TFLiteGraph, affine_tflite

from edgekit.errors import ArtifactError
from edgekit.tensors import Dim, DType
from edgekit.wire._tflite_ops import BUILTIN_OPS
from edgekit.wire.tflite import read_model, summarize


@pytest.fixture
def read(tmp_path):
    def write_and_read(graph):
        path = tmp_path / "model.tflite"
        path.write_bytes(graph.pack() if isinstance(graph, TFLiteGraph) else graph)
        return read_model(path)

    return write_and_read


def author_metadata():
    """Return a ModelMetadata buffer with name, description, version and author."""
    builder = flatbuffers.Builder(64)
    texts = {0: "net", 1: "tells things apart", 2: "1.2", 4: "Ada"}
    offsets = {slot: builder.CreateString(text) for slot, text in texts.items()}
    builder.StartObject(8)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"M001")
    return bytes(builder.Output())


def test_operator_table_is_the_schemas():
    enum = {name: code for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    assert {name: code for code, name in enumerate(BUILTIN_OPS)} == enum


def test_signature_gives_names_and_subgraph_gives_order(read):
    model = read(affine_tflite())
    assert str(model.main.signature) == (
        "(x: float32[2, 3], ids: int32[2]) -> (scaled: float32[2, 3], bumped: int32[2])"
    )
    assert list(model.signatures) == ["serving_default"]
    assert model.signatures["serving_default"] is model.main
    assert (model.main.inputs, model.main.outputs) == ((0, 1), (3, 4))
    assert model.ops == {"ADD": 2, "MUL": 1}
    assert model.parameter_bytes == {"float32": 16, "int32": 4}
    assert (model.version, model.description, model.notes) == (3, "edgekit", ())


def test_model_without_signature_is_called_by_tensor_names(read):
    graph = affine_tflite()
    graph.model.signatureDefs = []
    model = read(graph)
    assert [spec.name for spec in model.main.signature.inputs] == ["t_x", "t_ids"]
    assert [spec.name for spec in model.main.signature.outputs] == ["t_scaled", "t_bumped"]


def test_dynamic_dimension(read):
    graph = TFLiteGraph()
    graph.tensor("x", "FLOAT32", [-1, 3])
    graph.border(["x"], ["x"])
    assert read(graph).main.signature.inputs[0].shape == (Dim("x_0"), 3)


@pytest.mark.parametrize("kind", [name for name in vars(schema.TensorType) if name[0] != "_"])
def test_every_type_is_read_or_noted(read, kind):
    graph = TFLiteGraph()
    graph.tensor("x", kind, [2])
    graph.border(["x"], ["x"])
    model = read(graph)
    known = kind.lower() in {dtype.value for dtype in DType}
    assert [spec.dtype.value for spec in model.main.signature.inputs] == [kind.lower()] * known
    assert len(model.notes) == (not known)


def test_custom_and_newer_operators(read):
    graph = affine_tflite()
    graph.op("CUSTOM", ["t_x"], ["t_scaled"], custom=b"FlexErf")
    graph.op("GELU", ["t_x"], ["t_scaled"])
    graph.op("STABLEHLO_CASE", ["t_x"], ["t_scaled"])
    graph.model.operatorCodes[-1].builtinCode = len(BUILTIN_OPS)
    ops = read(graph).ops
    assert ops == {"ADD": 2, "BUILTIN:210": 1, "CUSTOM:FlexErf": 1, "GELU": 1, "MUL": 1}


def test_shared_constant_counts_once(read):
    graph = affine_tflite()
    graph.tensor("again", "FLOAT32", [3])
    graph.graph.tensors[-1].buffer = graph.graph.tensors[graph.indices["scale"]].buffer
    assert read(graph).parameter_bytes == {"float32": 16, "int32": 4}


def test_constant_behind_the_flatbuffer(read, tmp_path):
    graph = affine_tflite()
    buffer = graph.model.buffers[graph.graph.tensors[graph.indices["scale"]].buffer]
    buffer.data, buffer.offset, buffer.size = None, 4096, 1000
    data = graph.pack().ljust(5096, b"\0")
    assert read(data).parameter_bytes == {"float32": 1004, "int32": 4}
    with pytest.raises(ArtifactError, match="longer than the file"):
        read(data[:-1])


def test_metadata(read, tmp_path):
    graph = affine_tflite()
    graph.metadata("min_runtime_version", b"1.14.0\0\0")
    graph.metadata("binary", bytes(range(200)))
    graph.metadata("TFLITE_METADATA", author_metadata())
    model = read(graph)
    assert model.entries == ("min_runtime_version", "binary", "TFLITE_METADATA")
    assert model.metadata == {
        "min_runtime_version": "1.14.0",
        "name": "net",
        "description": "tells things apart",
        "version": "1.2",
        "author": "Ada",
    }
    assert summarize(tmp_path / "model.tflite").details["signatures"] == "serving_default"


def test_converted_model_agrees_with_schema_and_interpreter(converted, weight_bytes):
    path = converted / "converted.tflite"
    model = read_model(path)
    reference = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    ops = [
        names[reference.operatorCodes[op.opcodeIndex].builtinCode]
        for op in reference.subgraphs[0].operators
    ]
    assert model.ops == {name: ops.count(name) for name in ops}
    assert model.parameter_bytes["float32"] == weight_bytes
    runner = Interpreter(str(path)).get_signature_runner()
    details = runner.get_input_details() | runner.get_output_details()
    entry = model.main
    specs = entry.signature.inputs + entry.signature.outputs
    assert {spec.name for spec in specs} == set(details)
    for spec, index in zip(specs, entry.inputs + entry.outputs, strict=True):
        assert index == details[spec.name]["index"]
        assert spec.shape == tuple(details[spec.name]["shape"])
        assert spec.dtype.numpy() == details[spec.name]["dtype"]
    assert [spec.name for spec in entry.signature.outputs] == ["logits", "features"]


def test_cut_off_file_is_refused(converted, read):
    for damaged in cuts((converted / "converted.tflite").read_bytes(), 100):
        with pytest.raises(ArtifactError):
            read(damaged)


def test_damage_gives_an_error_or_a_result_and_no_runaway(converted, read):
    data = (converted / "converted.tflite").read_bytes()
    refused = 0
    tracemalloc.start()
    for damaged in flips(data, 500):
        try:
            read(damaged)
        except ArtifactError:
            refused += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 20
    assert peak < 4_000_000


def test_shared_tables_are_not_read_forever(read):
    """A file of 20 kB with 2000 subgraphs of 2000 operators each, all of them the same."""
    builder = flatbuffers.Builder(1024)

    def table(slots, **fields):
        builder.StartObject(slots)
        for slot, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(int(slot[1:]), offset, 0)
        return builder.EndObject()

    def repeated(offset):
        builder.StartVector(4, 2000, 4)
        for _ in range(2000):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    codes = repeated(table(4))
    graphs = repeated(table(6, _3=repeated(table(14))))
    builder.Finish(table(10, _1=codes, _2=graphs), file_identifier=b"TFL3")
    with pytest.raises(ArtifactError, match="more tables than bytes"):
        read(bytes(builder.Output()))
