"""Writing an ONNX model without holding its weights twice.

A protobuf message is the concatenation of its fields, and a field is a tag, a length and bytes.  So
the model without its weights is serialized as usual, and each weight is appended as one more
``initializer`` field of the graph, straight from where it lies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

import onnx
import onnx_ir as ir

from edgekit.errors import ConversionError

PROTOBUF_LIMIT = 2**31 - 1  # bytes; a parser refuses a larger message
_SMALL = 1024  # bytes; smaller tensors stay inside the graph, where shape inference reads them

_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9


def write(model: ir.Model, destination: Path) -> None:
    """Write `model`; above protobuf's 2 GB, its weights go to ``<destination>.data`` beside it."""
    if sum(_bytes_of(tensor) for _, tensor in _weights(model)) > PROTOBUF_LIMIT - 2**24:
        ir.save(model, destination, external_data=destination.name + ".data")
        return
    detached = dict(_weights(model))
    for name in detached:
        model.graph.initializers[name].const_value = None
        del model.graph.initializers[name]
    proto = ir.serde.serialize_model(model)
    _forget_known_types(proto.graph, detached)
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    heads = {name: _head(name, tensor) for name, tensor in detached.items()}
    size = len(graph) + sum(
        len(_prefix(_GRAPH_INITIALIZER, _size(heads[name], tensor))) + _size(heads[name], tensor)
        for name, tensor in detached.items()
    )
    with destination.open("wb") as file:
        file.write(proto.SerializeToString())
        file.write(_prefix(_MODEL_GRAPH, size))
        file.write(graph)
        for name, tensor in detached.items():
            _append(file, heads[name], tensor)


def _forget_known_types(graph: onnx.GraphProto, detached: Collection[str]) -> None:
    """Drop the types and shapes of weights, which each of them states itself."""
    known = {*detached, *(each.name for each in graph.initializer)}
    kept = [each for each in graph.value_info if each.name not in known]
    graph.ClearField("value_info")
    graph.value_info.extend(kept)


def _weights(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None:
            raise ConversionError(f"The ONNX exporter left the weight {name!r} without a value.")
        if tensor.dtype != ir.DataType.STRING and _bytes_of(tensor) > _SMALL:
            yield name, tensor


def _bytes_of(tensor: ir.TensorProtocol) -> int:
    return int(tensor.nbytes)


def _append(file: IO[bytes], head: bytes, tensor: ir.TensorProtocol) -> None:
    file.write(_prefix(_GRAPH_INITIALIZER, _size(head, tensor)))
    file.write(head)
    file.write(_prefix(_TENSOR_RAW_DATA, _bytes_of(tensor)))
    data = tensor.tobytes()
    assert len(data) == _bytes_of(tensor)
    file.write(data)


def _head(name: str, tensor: ir.TensorProtocol) -> bytes:
    """Return a TensorProto without its data."""
    dims = [int(dim) for dim in tensor.shape.numpy()]
    proto = onnx.TensorProto(dims=dims, data_type=tensor.dtype.value, name=name)
    return bytes(proto.SerializeToString())


def _size(head: bytes, tensor: ir.TensorProtocol) -> int:
    length = _bytes_of(tensor)
    return len(head) + len(_prefix(_TENSOR_RAW_DATA, length)) + length


def _prefix(field: int, length: int) -> bytes:
    """Return the tag and the length that stand before a length-delimited field."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
