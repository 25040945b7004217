"""The parser of model files, against coremltools' own writers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ArtifactError, UnavailableError
from edgekit.runtimes import mil
from edgekit.wire.mil import Packed, TensorType, Value, bits
from edgekit.wire.milblob import BlobFile
from edgekit.wire.milproto import Parser, parse_type
from edgekit.wire.mlprogram import operations, read_model, summarize, weight_bytes
from edgekit.wire.protobuf import Message
from tests.mil.packages import convert, ct, make

pytestmark = pytest.mark.filterwarnings("ignore")

BLOBS: dict[str, Any] = {
    "uint1": np.array([1, 0, 0, 1, 1, 0, 1, 1, 1, 0], np.uint8),
    "uint2": np.array([0, 1, 2, 3, 1], np.uint8),
    "uint3": np.arange(11, dtype=np.uint8) % 8,
    "uint4": np.arange(5, dtype=np.uint8) + 8,
    "uint6": np.arange(7, dtype=np.uint8) * 9,
    "int4": np.arange(-8, 8, dtype=np.int8)[:-1],
    "uint8": np.array([0, 1, 255], np.uint8),
    "int8": np.array([-128, 0, 127], np.int8),
    "uint16": np.array([0, 65535], np.uint16),
    "int16": np.array([-32768, 32767], np.int16),
    "int32": np.array([-(2**31), 2**31 - 1], np.int32),
    "uint32": np.array([0, 2**32 - 1], np.uint32),
    "float": np.array([0.1, -1e30], np.float32),
}


def test_every_blob_type_reads_back_as_coremltools_wrote_it(tmp_path: Path) -> None:
    from coremltools.libmilstoragepython import _BlobStorageWriter

    path = tmp_path / "weight.bin"
    writer = _BlobStorageWriter(str(path))
    offsets = {name: getattr(writer, f"write_{name}_data")(data) for name, data in BLOBS.items()}
    offsets["fp16"] = writer.write_fp16_data(np.array([0.1, -2], np.float16).view(np.uint16))
    del writer
    blobs = BlobFile(path)
    wanted = BLOBS | {"fp16": np.array([0.1, -2], np.float16)}
    for name, want in wanted.items():
        dtype = {"float": "float32", "fp16": "float16"}.get(name, name)
        data = Packed(blobs.read(offsets[name], dtype), in_file=True)
        got = Value(TensorType(dtype, want.shape), data).array()
        assert got.dtype == want.dtype
        assert np.array_equal(got, want), name
        with pytest.raises(ArtifactError, match="where the program says"):
            blobs.read(offsets[name], "bfloat16")
        with pytest.raises(ArtifactError, match="cannot hold"):
            blobs.read(offsets[name] + 8, dtype)


def test_bfloat16_widens() -> None:
    data = np.array([0x3F80, 0xC040], "<u2").tobytes()
    value = Value(TensorType("bfloat16", (2,)), Packed(memoryview(data), in_file=False))
    assert value.array().tolist() == [1, -3]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, inputs = make("convnet")
    return convert(model, inputs, tmp_path_factory.mktemp("wire") / "m.mlpackage", half=True)


def test_a_package_reads_as_coremltools_reads_it(package: Path) -> None:
    ours = read_model(package)
    theirs = ct.models.MLModel(str(package), skip_model_load=True)
    spec = theirs.get_spec()
    assert ours.spec_version == spec.specificationVersion
    assert ours.kind == spec.WhichOneof("Type")
    assert dict(ours.metadata) == dict(spec.description.metadata.userDefined)
    assert [found.name for found in ours.interface.inputs] == ["x"]
    assert ours.interface.inputs[0].shape == tuple(
        spec.description.input[0].type.multiArrayType.shape
    )
    assert ours.program is not None
    block = next(iter(spec.mlProgram.functions["main"].block_specializations.values()))
    found = list(operations(ours.program))
    assert [op.type for op in found] == [op.type for op in block.operations]
    assert [op.outputs[0].name for op in found] == [op.outputs[0].name for op in block.operations]


def test_constants_are_those_that_coremltools_loads(package: Path) -> None:
    from coremltools.converters.mil.frontend.milproto.load import load

    theirs = ct.models.MLModel(str(package), skip_model_load=True)
    spec = theirs.get_spec()
    loaded = load(spec, spec.specificationVersion, theirs.weights_dir)
    wanted = {
        op.outputs[0].name: op.outputs[0].val
        for op in loaded.functions["main"].operations
        if op.op_type == "const"
    }
    program = read_model(package).program
    assert program is not None
    compared = 0
    for op in operations(program):
        if op.type == "const":
            value = op.attributes["val"]
            text = value.text()
            want = wanted[op.outputs[0].name]
            assert text == want if text is not None else np.array_equal(value.array(), want)
            compared += 1
    assert compared == len(wanted) > 20


def test_weight_bytes_count_each_blob_once(package: Path) -> None:
    program = read_model(package).program
    assert program is not None
    counted = weight_bytes(program)
    assert set(counted) == {"float16"}
    size = (package / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    assert 0.5 * size < counted["float16"] < size


def test_a_relative_path_will_do(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(package.parent)
    assert read_model(Path(package.name)) == read_model(package)


def test_a_summary_has_what_inspect_shows(package: Path) -> None:
    found = summarize(package)
    assert str(found.signature.inputs[0]) == "x: float32[2, 3, 20, 20]"
    assert found.signature.outputs[0].shape == (2, 5)
    assert found.ops["conv"] == 2
    assert "const" not in found.ops
    assert set(found.parameter_bytes) == {"float16"}
    assert found.details["opset"] == "CoreML7"
    assert found.details["kind"] == "mlProgram"


def test_functions_of_one_model_are_told_apart(package: Path, tmp_path: Path) -> None:
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name in ("first", "second"):
        descriptor.add_function(str(package), "main", name)
    descriptor.default_function_name = "second"
    ct.utils.save_multifunction(descriptor, str(tmp_path / "two.mlpackage"))
    found = read_model(tmp_path / "two.mlpackage")
    assert list(found.interfaces) == ["first", "second"]
    assert found.default_function == "second"
    assert found.program is not None
    assert set(found.program.functions) == {"first", "second"}
    assert weight_bytes(found.program) == weight_bytes(read_model(package).program)  # type: ignore[arg-type]


def test_other_kinds_of_models_are_described(tmp_path: Path) -> None:
    from coremltools.models import datatypes, neural_network

    features = [("x", datatypes.Array(3))], [("y", datatypes.Array(3))]
    builder = neural_network.NeuralNetworkBuilder(*features)
    builder.add_activation("relu", "RELU", "x", "y")
    ct.utils.save_spec(builder.spec, str(tmp_path / "m.mlmodel"))
    found = read_model(tmp_path / "m.mlmodel")
    assert (found.kind, found.program) == ("neuralNetwork", None)
    assert found.interface.inputs[0].shape == (3,)
    assert found.interface.inputs[0].dtype == "float64"
    summary = summarize(tmp_path / "m.mlmodel")
    assert str(summary.signature) == "(x: float64[3]) -> (y: float64[3])"
    assert summary.notes == ("Operations of a neuralNetwork are not listed.",)
    with pytest.raises(UnavailableError, match="executes ML Programs"):
        mil.load(tmp_path / "m.mlmodel", threads=1)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    head, size = number << 3 | 2, len(content)
    out = bytearray([head])
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size]) + content


def test_nesting_is_bounded() -> None:
    deep = b""
    for _ in range(200):
        deep = field(2, field(1, deep))
    with pytest.raises(ArtifactError, match="nested deeper"):
        parse_type(Message(deep))


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "negative dimension"),
        (b"\x08\x80\x80\x80\x80\x80\x80\x80\x20", r"has \d+ bytes"),
    ],
)
def test_a_constant_larger_than_its_bytes_is_refused(dims: bytes, message: str) -> None:
    tensor = b"\x08\x0b\x10\x01" + field(3, field(1, dims))
    value = field(2, field(1, tensor)) + field(3, field(1, field(1, field(1, b"\0" * 8))))
    operation = field(1, b"const") + field(5, field(1, b"val") + field(2, value))
    block = field(3, operation)
    function = field(2, b"CoreML7") + field(3, field(1, b"CoreML7") + field(2, block))
    program = field(2, field(1, b"main") + field(2, function))
    with pytest.raises(ArtifactError, match=message):
        Parser(lambda *_: memoryview(b"")).program(Message(program))


def test_sizes_of_elements() -> None:
    assert {dtype: bits(dtype) for dtype in ("uint3", "int4", "bool", "bfloat16", "float64")} == {
        "uint3": 3, "int4": 4, "bool": 8, "bfloat16": 16, "float64": 64
    }  # fmt: skip
