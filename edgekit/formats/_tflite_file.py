"""What edgekit adds to a TFLite file: the source's names and order, and the standard metadata.

The metadata is the ``TFLITE_METADATA`` buffer that Android's and MediaPipe's libraries read
(``metadata_schema.fbs`` of the TFLite Support library); class labels are the file ``labels.txt`` in
a zip archive appended to the model, as that schema asks.
"""

from __future__ import annotations

import io
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.device_agent import attribute_of
from edgekit.formats._tflite_graph import SharingBuilder, text, unpacked
from edgekit.source import Metadata
from edgekit.tensors import Signature

_BORDER = "edgekit.border.Border"  # which wraps the user's own module
_LABELS_FILE = "labels.txt"
_TENSOR_AXIS_LABELS = 2  # AssociatedFileType


def write(content: bytes, signature: Signature, metadata: Metadata, destination: Path) -> None:
    """Write a converted model with its signature in the source's order and its metadata."""
    model = unpacked(content)
    _order(model, signature)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.name = name_by_layer(text(tensor.name))
    _share_buffers(model)
    model.description = metadata.description or metadata.name
    _add_metadata(model, _model_metadata(metadata, len(signature.outputs)))
    builder = SharingBuilder(len(content) + 2**16)
    builder.Finish(model.Pack(builder), b"TFL3")
    with destination.open("wb") as file:
        file.write(memoryview(builder.Bytes)[builder.Head() :])
        if metadata.labels:
            file.write(_archive(metadata.labels))


def _share_buffers(model: Any) -> None:
    """Keep equal buffers once; what holds nothing is the first, which is empty by convention."""
    places: dict[str, int] = {}
    kept, shared = [model.buffers[0]], [0]
    for buffer in model.buffers[1:]:
        place = 0
        if _holds(buffer):
            place = places.setdefault(sha256(memoryview(buffer.data)).hexdigest(), len(kept))
            kept += [buffer] * (place == len(kept))
        shared.append(place)
    model.buffers = kept
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    for each in (*tensors, *(model.metadata or ())):
        each.buffer = shared[each.buffer]


def _holds(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def name_by_layer(name: str) -> str:
    """Return the converter's name of a tensor without the class names in it.

    It spells the modules around each operator that was fused, every one with its class:
    ``edgekit.border.Border/net.Net_model/torch.nn.modules.conv.Conv2d_head;2`` is ``model/head;2``.
    """
    return ";;".join(dict.fromkeys(_without_classes(path) for path in name.split(";;")))


def _without_classes(path: str) -> str:
    border, *parts = path.split("/")
    if border != _BORDER:
        return path
    return "/".join(map(attribute_of, parts))


def _order(model: Any, signature: Signature) -> None:
    """Put the signatures' inputs and outputs, and their subgraphs', in the source's order."""
    for definition in model.signatureDefs:
        graph = model.subgraphs[definition.subgraphIndex]
        for maps, specs, side in (
            (definition.inputs, signature.inputs, "inputs"),
            (definition.outputs, signature.outputs, "outputs"),
        ):
            places = {spec.name: index for index, spec in enumerate(specs)}
            maps.sort(key=lambda each, places=places: places[each.name.decode()])
            setattr(graph, side, np.array([each.tensorIndex for each in maps], np.int32))


def _add_metadata(model: Any, content: bytes) -> None:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]


def _archive(labels: tuple[str, ...]) -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo(_LABELS_FILE)  # a fixed date: equal inputs give equal files
        archive.writestr(info, "\n".join(labels) + "\n")
    return stored.getvalue()


# Field numbers of metadata_schema.fbs.
_MODEL = {"name": 0, "description": 1, "version": 2, "subgraphs": 3, "author": 4, "license": 5}
_MODEL_FIELDS, _SUBGRAPH_FIELDS, _TENSOR_FIELDS, _FILE_FIELDS = 8, 8, 8, 5
_SUBGRAPH_OUTPUTS, _TENSOR_FILES, _FILE_NAME, _FILE_TYPE = 3, 6, 0, 2


def _model_metadata(metadata: Metadata, outputs: int) -> bytes:
    builder = flatbuffers.Builder(1024)
    fields = {
        _MODEL[key]: builder.CreateString(value)
        for key, value in metadata.items().items()
        if key in _MODEL
    }
    if metadata.labels:
        name = builder.CreateString(_LABELS_FILE)
        builder.StartObject(_FILE_FIELDS)
        builder.PrependUOffsetTRelativeSlot(_FILE_NAME, name, 0)
        builder.PrependInt8Slot(_FILE_TYPE, _TENSOR_AXIS_LABELS, 0)
        files = _vector(builder, [builder.EndObject()])
        first = _table(builder, _TENSOR_FIELDS, {_TENSOR_FILES: files})
        rest = [_table(builder, _TENSOR_FIELDS, {}) for _ in range(outputs - 1)]
        tensors = _vector(builder, [first, *rest])
        subgraph = _table(builder, _SUBGRAPH_FIELDS, {_SUBGRAPH_OUTPUTS: tensors})
        fields[_MODEL["subgraphs"]] = _vector(builder, [subgraph])
    builder.Finish(_table(builder, _MODEL_FIELDS, fields), b"M001")
    return bytes(builder.Output())


def _table(builder: Any, size: int, fields: dict[int, int]) -> int:
    builder.StartObject(size)
    for field, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
