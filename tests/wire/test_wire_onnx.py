"""The ONNX reader against the onnx package, and against damage."""

import tracemalloc
from collections import Counter

import numpy as np
import onnx
import pytest
from damage import cuts, flips
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ArtifactError
from edgekit.tensors import Dim, DType
from edgekit.wire.onnx import _TYPES, read_model, summarize

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.fixture
def read(tmp_path):
    def write_and_read(model):
        path = tmp_path / "model.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return read_model(path)

    return write_and_read


def value(name, kind=FLOAT, shape=(2,)):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes=(), inputs=(), outputs=(), constants=(), **options):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], **options)


def nested_model():
    """Return a model with an If, whose branch holds a constant, and a local function."""
    constant = numpy_helper.from_array(np.ones(5, np.float32), "c")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=constant)], "b", [], [value("y")]
    )
    body = [
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gelu", ["b"], ["d"], domain="com.microsoft"),
    ]
    function = helper.make_function(
        "local", "Twice", ["a"], ["d"], body, [helper.make_opsetid("", 17)]
    )
    nodes = [
        helper.make_node("If", ["cond"], ["y"], then_branch=branch, else_branch=branch),
        helper.make_node("Twice", ["y"], ["z"], domain="local"),
    ]
    return model_of(
        nodes, [value("cond", TensorProto.BOOL, [])], [value("z")], functions=[function]
    )


def test_type_table_is_the_protos():
    ours = {"float": "float32", "double": "float64"}
    names = {
        number: ours.get(name.lower(), name.lower())
        for name, number in TensorProto.DataType.items()
    }
    assert dict(enumerate(_TYPES)) == names


def test_heading(read, tmp_path):
    model = model_of(producer_name="maker", producer_version="3", doc_string="Tells things apart.")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    helper.set_model_props(model, {"author": "Ada"})
    found = read(model)
    assert found.opsets == {"ai.onnx": 17, "com.microsoft": 1}
    assert (found.ir_version, found.producer) == (model.ir_version, "maker 3")
    summary = summarize(tmp_path / "model.onnx")
    assert summary.metadata == {"description": "Tells things apart.", "author": "Ada"}
    assert summary.details["opset"] == "ai.onnx 17, com.microsoft 1"


def test_signature_leaves_constants_out_and_knows_dynamic_dimensions(read):
    weight = numpy_helper.from_array(np.ones((2, 3), np.float32), "w")
    inputs = [
        value("x", FLOAT, ["batch", None, 3]),
        value("w", FLOAT, [2, 3]),
        value("s", INT64, []),
    ]
    signature = read(model_of([], inputs, [value("y", FLOAT, [2])], [weight])).signature
    assert [(spec.name, spec.dtype, spec.shape) for spec in signature.inputs] == [
        ("x", DType.FLOAT32, (Dim("batch"), Dim("x_1"), 3)),
        ("s", DType.INT64, ()),
    ]


def test_values_that_are_no_tensors_are_noted(read):
    sequence = helper.make_tensor_sequence_value_info("list", FLOAT, None)
    model = read(
        model_of([], [value("x", FLOAT, None)], [sequence, value("f8", TensorProto.FLOAT8E5M2)])
    )
    assert model.signature.outputs == ()
    assert len(model.notes) == 3
    assert "'list' is left out" in model.notes[1]


def test_operators_in_nested_graphs_and_functions(read):
    model = read(nested_model())
    assert model.ops == {
        "Constant": 2,
        "If": 1,
        "Relu": 1,
        "com.microsoft::Gelu": 1,
        "local::Twice": 1,
    }
    assert model.parameter_bytes == {"float32": 40}


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("kind", "size"),
    [("FLOAT", 24), ("INT64", 48), ("FLOAT16", 12), ("BOOL", 6), ("DOUBLE", 48), ("UINT8", 6)],
)
def test_bytes_of_raw_and_typed_constants(read, kind, size, raw):
    number = TensorProto.DataType.Value(kind)
    values = np.ones(6, helper.tensor_dtype_to_np_dtype(number))
    tensor = helper.make_tensor("w", number, [2, 3], values.tobytes() if raw else values, raw=raw)
    assert sum(read(model_of(constants=[tensor])).parameter_bytes.values()) == size


def test_bytes_of_packed_and_text_constants(read):
    int4 = helper.make_tensor("i", TensorProto.INT4, [5], [1, 2, 3, 4, 5])
    texts = helper.make_tensor("s", TensorProto.STRING, [2], [b"ab", b"cde"])
    assert read(model_of(constants=[int4, texts])).parameter_bytes == {"string": 5, "int4": 3}


def test_constant_of_the_wrong_length_is_refused(read):
    tensor = helper.make_tensor("w", FLOAT, [3], bytes(12), raw=True)
    tensor.dims[0] = 4
    with pytest.raises(ArtifactError, match="'w' has 12 bytes instead of 16"):
        read(model_of(constants=[tensor]))


@pytest.mark.parametrize(
    ("location", "size", "problem"),
    [
        ("w.bin", 20, None),
        ("w.bin", 19, "cut off: it has 19 bytes and the model needs 20"),
        ("absent.bin", 20, "not beside the model"),
        ("../w.bin", 20, "not beside the model"),
        ("/etc/hostname", 20, "not beside the model"),
    ],
)
def test_weights_beside_the_model(read, tmp_path, location, size, problem):
    (tmp_path / "w.bin").write_bytes(bytes(size))
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", location), ("offset", "8"), ("length", "12")):
        tensor.external_data.add(key=key, value=text)
    model = read(model_of(constants=[tensor]))
    assert model.parameter_bytes == {"float32": 12}
    assert [(file.location, file.needed) for file in model.external] == [(location, 20)]
    assert len(model.notes) == (problem is not None)
    assert problem is None or problem in model.notes[0]


def test_converted_model_agrees_with_the_onnx_package(converted, weight_bytes):
    path = converted / "converted.onnx"
    model, reference = read_model(path), onnx.load(path, load_external_data=False)
    assert model.ops == Counter(node.op_type for node in reference.graph.node)
    assert [spec.name for spec in model.signature.inputs] == [v.name for v in reference.graph.input]
    assert [spec.name for spec in model.signature.outputs] == [
        v.name for v in reference.graph.output
    ]
    assert model.opsets["ai.onnx"] == reference.opset_import[0].version
    assert model.parameter_bytes["float32"] == weight_bytes
    assert model.notes == ()
    assert [file.location for file in model.external] == ["converted.onnx.data"]


def test_cut_off_file_is_refused(converted, read):
    for damaged in cuts((converted / "converted.onnx").read_bytes(), 100):
        try:
            read(damaged)
        except ArtifactError:
            continue
        # A cut between two fields after the graph leaves a whole message behind.
        assert len(damaged) > 0.9 * (converted / "converted.onnx").stat().st_size


def test_damage_gives_an_error_or_a_result_and_no_runaway(converted, read):
    sources = [(converted / "converted.onnx").read_bytes(), nested_model().SerializeToString()]
    refused = 0
    tracemalloc.start()
    for data in sources:
        for damaged in flips(data, 300):
            try:
                read(damaged)
            except ArtifactError:
                refused += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 20
    assert peak < 4_000_000


def test_deeply_nested_graphs_are_read_without_recursion(read):
    graph = helper.make_graph([], "g", [], [])
    data = graph.SerializeToString()
    for _ in range(3000):
        attribute = _field(5, _field(6, data))
        data = _field(1, _field(4, b"If") + attribute)
    assert read(bytes([8, 8]) + _field(7, data)).ops == {"If": 3000}


def _field(number, content):
    size, header = len(content), bytearray([number << 3 | 2])
    while size > 127:
        header.append(size & 127 | 128)
        size >>= 7
    return bytes(header) + bytes([size]) + content
