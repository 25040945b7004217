"""Integer weights of layers whose activations are float, in TFLite.

The converter is given such a weight with one scale per channel, and leaves it as an integer
constant behind a ``DEQUANTIZE``; its scales say which weight it is.  Here four-bit weights are
packed, blocks get their scales, and dynamic layers read the integers themselves: runtimes then
round what comes in.

No runtime dequantizes a constant with scales by blocks (LiteRT 2.3 gives zeros).  So a block of a
layer that computes in float becomes a row of its own: ``DEQUANTIZE`` by rows, then ``RESHAPE``.

Of a table of embeddings the integers that are asked for are gathered, with their scales, and become
floats.  ``EMBEDDING_LOOKUP`` does that as well, but in tflite-runtime 2.14 with one scale for all.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.errors import ConversionError
from edgekit.formats._tflite_graph import (
    FLOAT,
    Graph,
    code_of,
    forget_unused,
    name_of,
    packed,
    unpacked,
)
from edgekit.quantize.dialects import IntegerWeight
from edgekit.runtimes import Array

# Operators that multiply float values by integer weights.
_HYBRID = {"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"}


def store(content: bytes, weights: Mapping[str, IntegerWeight]) -> bytes:
    """Return the model with the weights in their final form.

    Raises:
        ConversionError: the converter has made something else of one.
    """
    model = unpacked(content)
    known: dict[bytes, dict[str, IntegerWeight]] = {}
    for name, each in weights.items():
        known.setdefault(key_of(each), {})[name] = each
    found: set[str] = set()
    for graph in model.subgraphs:
        for op in list(graph.operators):
            source = graph.tensors[op.inputs[0]] if name_of(model, op) == "DEQUANTIZE" else None
            scales = source.quantization.scale if source is not None else None
            key = _key(scales) if scales is not None else None
            if source is None or key not in known:
                continue
            found.update(known[key])  # equal ones: the converter keeps one
            _store(model, graph, op, source, next(iter(known[key].values())))
    for name in sorted(set(weights) - found):
        raise ConversionError(
            f"The TFLite converter rewrote the weight {name!r}: it cannot be stored as integers.",
            "Keep its layer in float with an override.",
        )
    forget_unused(model)
    return packed(model)


def _key(scales: Any) -> bytes:
    return np.asarray(scales, np.float32).tobytes()


def key_of(weight: IntegerWeight) -> bytes:
    """Return one scale per channel, as `dialects.with_quantize_nodes` gives them."""
    scale = weight.scale.numpy()
    return _key((scale[:, :1] if weight.block_size else scale).reshape(-1))


def _store(model: Any, graph: Any, op: Any, source: Any, weight: IntegerWeight) -> None:
    readers = [each for each in graph.operators if op.outputs[0] in each.inputs]
    lookups = [each for each in readers if name_of(model, each) == "EMBEDDING_LOOKUP"]
    if weight.bits == 4 and weight.data.shape[-1] % 2 == 0:
        _pack(model, source)
    if lookups:
        _look_up(model, graph, lookups, source, weight)
        readers = [each for each in readers if each not in lookups]
    if not readers:
        graph.operators.remove(op)
        return
    if weight.bits == 4 and source.type != schema.TensorType.INT4:
        _pack(model, source)  # GATHER takes rows of whole bytes, DEQUANTIZE any
    hybrid = weight.dynamic and all(name_of(model, each) in _HYBRID for each in readers)
    if weight.block_size and hybrid:
        _give_blocks(model, graph, source, weight)
    elif weight.block_size:
        _give_rows(model, graph, op, source, weight)
    if hybrid:
        for reader in readers:
            inputs = [op.inputs[0] if i == op.outputs[0] else i for i in reader.inputs]
            reader.inputs = inputs
        graph.operators.remove(op)


def _look_up(
    model: Any, graph: Any, lookups: list[Any], source: Any, weight: IntegerWeight
) -> None:
    """Let lookups in a table read its integers and its scales, whose tensors have no scheme."""
    made = Graph(model, graph)
    shape = [int(size) for size in source.shape]
    table = made.tensor(shape, source.type, source.buffer)
    scale = weight.scale.numpy()
    scales = made.constant(scale.reshape(*scale.shape, 1) if weight.block_size else scale)
    for op in lookups:
        rest = graph.operators[graph.operators.index(op) + 1 :]
        del graph.operators[-len(rest) - 1 :]
        _dequantized_rows(made, op, table, scales, weight)
        graph.operators += rest


def _dequantized_rows(made: Graph, op: Any, table: int, scales: int, weight: IntegerWeight) -> None:
    """Write a lookup anew: of a whole table most is not asked for."""
    indices, result = int(op.inputs[0]), int(op.outputs[0])
    count, width = made.shape(result)
    integers, rows = made.tensor([count, width], made.type(table)), made.tensor([count, width])
    made.add("GATHER", [table, indices], [integers])
    made.add("CAST", [integers], [rows], inDataType=made.type(table), outDataType=FLOAT)
    if weight.scale.numel() > 1:
        gathered = made.tensor([count, *made.shape(scales)[1:]])
        made.add("GATHER", [scales, indices], [gathered])
        scales = gathered
    if weight.block_size is None:
        made.add("MUL", [rows, scales], [result])
        return
    rows = made.reshaped(rows, [count, width // weight.block_size, weight.block_size])
    made.reshape(made.apply("MUL", rows, scales), result)


def _give_blocks(model: Any, graph: Any, tensor: Any, weight: IntegerWeight) -> None:
    scales = schema.TensorT()
    scales.name = tensor.name + b"_scales"
    scales.type = schema.TensorType.FLOAT16
    values = weight.scale.numpy().reshape(len(weight.scale), -1).astype(np.float16)
    _put(model, scales, values)
    graph.tensors.append(scales)
    blocks = schema.BlockwiseQuantizationT()
    blocks.scales, blocks.zeroPoints = len(graph.tensors) - 1, -1
    blocks.blockSize = weight.block_size
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    tensor.quantization.details = blocks


def _give_rows(model: Any, graph: Any, op: Any, tensor: Any, weight: IntegerWeight) -> None:
    """Dequantize blocks as rows, and give the result its shape."""
    shape = np.array(tensor.shape, np.int32)
    rows = np.array([weight.scale.numel(), weight.block_size], np.int32)
    tensor.shape = rows
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = weight.scale.numpy().reshape(-1)
    tensor.quantization.zeroPoint = np.zeros(len(tensor.quantization.scale), np.int64)
    between = copy.copy(graph.tensors[op.outputs[0]])
    between.shape, between.name = rows, between.name + b"_rows"
    wanted = schema.TensorT()
    wanted.name, wanted.type = tensor.name + b"_shape", schema.TensorType.INT32
    _put(model, wanted, shape)
    graph.tensors += [between, wanted]
    reshape = schema.OperatorT()
    reshape.opcodeIndex = code_of(model, "RESHAPE")
    reshape.inputs = [len(graph.tensors) - 2, len(graph.tensors) - 1]
    reshape.outputs = op.outputs
    op.outputs = [len(graph.tensors) - 2]
    graph.operators.insert(graph.operators.index(op) + 1, reshape)


def _pack(model: Any, tensor: Any) -> None:
    """Store two integers a byte, the first in the lower half."""
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8) & 15
    data = np.append(data, np.zeros(len(data) % 2, np.uint8))
    buffer = schema.BufferT()
    buffer.data = data[0::2] | (data[1::2] << 4)
    model.buffers.append(buffer)
    tensor.buffer, tensor.type = len(model.buffers) - 1, schema.TensorType.INT4


def _put(model: Any, tensor: Any, values: Array) -> None:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer, tensor.shape = len(model.buffers) - 1, np.array(values.shape, np.int32)
