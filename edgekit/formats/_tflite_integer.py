"""Integer kernels for TFLite: fold quantize and dequantize operators into the operators between.

The converter leaves a quantized graph as it came: ``DEQUANTIZE``, a float operator, ``QUANTIZE``.
One walk in the order of execution gives every operator that has an integer kernel, and whose values
are all quantized, integer tensors instead.  What the walk knows of a float tensor is the integer
tensor that stands for it; a ``DEQUANTIZE`` is written only where a float operator asks for one.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.formats._tflite_graph import code_of, forget_unused, name_of, packed, unpacked
from edgekit.runtimes import Array

_FLOAT, _SHORT = schema.TensorType.FLOAT32, schema.TensorType.INT16
_NUMPY: dict[int, Any] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT8: np.int8,
}

# Operators whose result has the scale of what they read.
_MOVING = {
    *("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "PAD", "GATHER"),
    *("MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION", "SPLIT", "SPLIT_V", "TILE", "UNPACK"),
    *("PACK", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR", "MIRROR_PAD", "BROADCAST_TO"),
    *("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "REVERSE_V2", "GATHER_ND"),
}
# Operators with a scale of their own for the result.
_COMPUTING = {
    *("ADD", "SUB", "MUL", "MEAN", "SUM", "MAXIMUM", "MINIMUM", "BATCH_MATMUL"),
    *("RELU", "RELU6", "LEAKY_RELU", "PRELU", "LOGISTIC", "TANH", "SOFTMAX", "GELU"),
}
# Of these, what has no kernel for 16-bit integers.
_NOT_IN_16_BITS = {"GELU", "PRELU"}
# Operators with weights: places of input, weight and bias, and the weight's axis of channels.
_WEIGHTED = {
    "CONV_2D": (0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "FULLY_CONNECTED": (0, 1, 2, 0),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}


def fold(content: bytes, apart: Collection[bytes] = ()) -> bytes:
    """Return the model with integer kernels wherever its quantize operators allow them.

    Args:
        content: The model.
        apart: Scales of the integer weights whose layers compute in float.
    """
    model = unpacked(content)
    for graph in model.subgraphs:
        _Walk(model, graph, apart).run()
    forget_unused(model)
    return packed(model)


@dataclass
class _Walk:
    """One walk through a subgraph."""

    model: Any
    graph: Any
    apart: Collection[bytes]
    integer: dict[int, int] = field(default_factory=dict)  # float tensor -> what stands for it
    instead: dict[int, int] = field(default_factory=dict)  # tensor -> an equal one
    written: list[Any] = field(default_factory=list)  # the operators of the result
    readers: dict[int, list[Any]] = field(default_factory=dict)

    def run(self) -> None:
        for op in self.graph.operators:
            for index in op.inputs:
                self.readers.setdefault(int(index), []).append(op)
        for op in self.graph.operators:
            op.inputs = [self.instead.get(int(i), int(i)) for i in op.inputs]
            if not self._rewritten(op):
                self._write_float(op)
        for index in self.graph.outputs:
            self._as_float(int(index))
        self.graph.operators = _needed(self.written, self.graph.outputs)

    def _rewritten(self, op: Any) -> bool:
        """Write an operator with integers; return whether that was possible."""
        name = name_of(self.model, op)
        if name == "DEQUANTIZE" and _scheme(self._tensor(op.inputs[0])):
            self.integer[op.outputs[0]] = op.inputs[0]
            return True
        if name == "QUANTIZE":
            return self._quantize(op)
        if name in _MOVING:
            return self._move_constant(op, name) or self._move(op)
        if name in _WEIGHTED:
            return self._weighted(op, _WEIGHTED[name])
        return name in _COMPUTING and self._compute(op)

    # -- What becomes of each kind ---------------------------------------------------------------

    def _quantize(self, op: Any) -> bool:
        source, result = op.inputs[0], op.outputs[0]
        values = self._values(source)
        if values is not None and self._tensor(source).type == _FLOAT:
            self._store(result, values)
            return True
        known = self.integer.get(source)
        if known is None:
            return False
        if _scheme(self._tensor(known)) == _scheme(self._tensor(result)):
            self.instead[result] = known
        else:  # from one scale to another
            op.inputs[0] = known
            self.written.append(op)
        return True

    def _move_constant(self, op: Any, name: str) -> bool:
        """Transpose, reverse or reshape a quantized constant; keep track of its channels."""
        known = self.integer.get(op.inputs[0])
        values = None if known is None else self._values(known)
        how = None if len(op.inputs) < 2 else self._values(op.inputs[1])
        if values is None or how is None or name not in {"TRANSPOSE", "RESHAPE", "REVERSE_V2"}:
            return False
        source = self._tensor(known)
        axis = source.quantization.quantizedDimension
        if name == "TRANSPOSE":
            moved, axis = values.transpose(how), list(how).index(axis)
        elif name == "REVERSE_V2":
            if _per_channel(source) and axis in how:
                return False
            moved = np.flip(values, tuple(map(int, how)))
        else:
            moved = values.reshape(how)
            if _per_channel(source):
                axis = _axis_after_reshape(values.shape, moved.shape, axis)
        if axis is None:
            return False
        result = self._like(op.outputs[0], source)
        self._tensor(result).quantization.quantizedDimension = axis
        self._put(result, moved)
        self.integer[op.outputs[0]] = result
        return True

    def _move(self, op: Any) -> bool:
        """Move integers in place of floats; all of them must have one scale."""
        floats = [i for i in op.inputs if i >= 0 and self._tensor(i).type == _FLOAT]
        known = [self.integer.get(i) for i in floats]
        if not floats or None in known:
            return False
        first = self._tensor(known[0])
        if _per_channel(first) or any(_scheme(self._tensor(k)) != _scheme(first) for k in known):
            return False
        op.inputs = [self.integer.get(i, i) for i in op.inputs]
        self._give(op, [self._like(result, first) for result in op.outputs])
        return True

    def _compute(self, op: Any) -> bool:
        floats = [i for i in op.inputs if i >= 0 and self._tensor(i).type == _FLOAT]
        targets = [self._target(result) for result in op.outputs]
        if not floats or None in targets or any(i not in self.integer for i in floats):
            return False
        if any(_per_channel(self._tensor(self.integer[i])) for i in floats):
            return False
        kinds = {self._tensor(self.integer[i]).type for i in floats} | {t.type for t in targets}
        if len(kinds) > 1 or (kinds == {_SHORT} and name_of(self.model, op) in _NOT_IN_16_BITS):
            return False
        op.inputs = [self.integer.get(i, i) for i in op.inputs]
        if name_of(self.model, op) == "MEAN":
            self._reduce_in_place(op)
        self._give(op, [self._like(r, t) for r, t in zip(op.outputs, targets, strict=True)])
        return True

    def _reduce_in_place(self, op: Any) -> None:
        """Average along the axes that a transposition before moved: NPUs take those of images."""
        before = next((e for e in self.written if op.inputs[0] in e.outputs), None)
        if (
            before is None
            or name_of(self.model, before) != "TRANSPOSE"
            or op.builtinOptions.keepDims
        ):
            return
        order, axes = self._values(before.inputs[1]), self._values(op.inputs[1])
        if order is None or axes is None:
            return
        gone = [int(order[axis]) for axis in axes.reshape(-1)]
        left = [int(axis) for axis in order if axis not in gone]
        if left != sorted(left):
            return  # it would come out transposed
        tensor = self._add(copy.copy(self._tensor(op.inputs[1])))
        self._put(tensor, np.array(gone, axes.dtype))
        op.inputs = [before.inputs[0], tensor]

    def _weighted(self, op: Any, places: tuple[int, int, int, int]) -> bool:
        at_input, at_weight, at_bias, axis = places
        target = self._target(op.outputs[0])
        value, weight = (self.integer.get(op.inputs[at]) for at in (at_input, at_weight))
        if target is None or value is None or weight is None or self._values(weight) is None:
            return False
        if target.type != self._tensor(value).type or self._is_apart(weight):
            return False
        scheme = self._tensor(weight).quantization
        if _per_channel(self._tensor(weight)) and scheme.quantizedDimension != axis:
            return False
        inputs = list(op.inputs)
        if len(inputs) > at_bias and inputs[at_bias] >= 0:
            bias = self._bias(inputs[at_bias], self._tensor(value), scheme)
            if bias is None:
                return False
            inputs[at_bias] = bias
        inputs[at_input], inputs[at_weight] = value, weight
        op.inputs = inputs
        self._give(op, [self._like(op.outputs[0], target)])
        return True

    def _is_apart(self, weight: int) -> bool:
        return (
            np.asarray(self._tensor(weight).quantization.scale, np.float32).tobytes() in self.apart
        )

    def _bias(self, index: int, value: Any, weight: Any) -> int | None:
        """Return a bias in units of the accumulator: scale of input times scale of weight."""
        values = self._values(index)
        if values is None:
            return None
        scale = np.asarray(weight.scale, np.float32) * np.float32(value.quantization.scale[0])
        wide = np.round(values.astype(np.float64) / scale.astype(np.float64))
        sixteen = value.type == schema.TensorType.INT16
        tensor = copy.deepcopy(self._tensor(index))
        tensor.type = schema.TensorType.INT64 if sixteen else schema.TensorType.INT32
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = scale
        tensor.quantization.zeroPoint = np.zeros(len(scale), np.int64)
        result = self._add(tensor)
        self._put(result, wide.astype(_NUMPY[tensor.type]))
        return result

    def _target(self, index: int) -> Any:
        """Return the one integer tensor that a float tensor's readers make of it, or None."""
        found = None
        for reader in self.readers.get(index, ()):
            name = name_of(self.model, reader)
            if name == "QUANTIZE":
                target = self._tensor(reader.outputs[0])
            elif name in _MOVING and len(reader.outputs) == 1:
                target = self._target(reader.outputs[0])
            else:
                return None
            if target is None or (found is not None and _scheme(found) != _scheme(target)):
                return None
            found = target
        return None if index in self.graph.outputs else found

    def _write_float(self, op: Any) -> None:
        op.inputs = [self._as_float(i) for i in op.inputs]
        self.written.append(op)

    def _give(self, op: Any, results: list[int]) -> None:
        """Write an operator with other results, which stand for those that it had."""
        self.integer.update(zip(op.outputs, results, strict=True))
        op.outputs = results
        self.written.append(op)

    def _as_float(self, index: int) -> int:
        """Return the float tensor itself, dequantized now if nothing has written it yet."""
        known = self.integer.get(index)
        if known is not None and not any(index in each.outputs for each in self.written):
            op = schema.OperatorT()
            op.opcodeIndex = code_of(self.model, "DEQUANTIZE")
            op.inputs, op.outputs = [known], [index]
            self.written.append(op)
        return index

    # -- Tensors -----------------------------------------------------------------------------------

    def _tensor(self, index: int | None) -> Any:
        return self.graph.tensors[index]

    def _values(self, index: int) -> Array | None:
        """Return the values of a constant, None for what is computed."""
        tensor = self._tensor(index)
        data = self.model.buffers[tensor.buffer].data
        if data is None or tensor.type not in _NUMPY:
            return None
        shape = () if tensor.shape is None else tuple(tensor.shape)
        values: Array = np.asarray(data, np.uint8).view(_NUMPY[tensor.type])
        return values.reshape(shape)

    def _store(self, index: int, values: Array) -> None:
        """Make a tensor a constant: floats rounded to its own scale."""
        tensor = self._tensor(index)
        scheme = tensor.quantization
        shape = [1] * values.ndim
        if _per_channel(tensor):
            shape[scheme.quantizedDimension] = -1
        scale = np.asarray(scheme.scale, np.float32).reshape(shape).astype(np.float64)
        zero = np.asarray(scheme.zeroPoint).reshape(shape)
        limits = np.iinfo(_NUMPY[tensor.type])
        rounded = np.round(values / scale) + zero
        self._put(index, np.clip(rounded, limits.min, limits.max).astype(_NUMPY[tensor.type]))

    def _put(self, index: int, values: Array) -> None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self._tensor(index).buffer = len(self.model.buffers) - 1
        self._tensor(index).shape = np.array(values.shape, np.int32)

    def _like(self, index: int, source: Any) -> int:
        """Add a tensor of the shape and name of one, and of the type and scale of another."""
        tensor = copy.copy(self._tensor(index))
        tensor.type, tensor.buffer = source.type, 0
        tensor.quantization = copy.copy(source.quantization)
        return self._add(tensor)

    def _add(self, tensor: Any) -> int:
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1


def _scheme(tensor: Any) -> tuple[Any, ...] | None:
    """Return what makes two quantized tensors comparable; None for a tensor without a scale."""
    found = tensor.quantization
    if found is None or found.scale is None or not len(found.scale):
        return None
    axis = found.quantizedDimension if len(found.scale) > 1 else 0
    return tensor.type, tuple(found.scale), tuple(found.zeroPoint), axis


def _per_channel(tensor: Any) -> bool:
    return tensor.quantization is not None and len(tensor.quantization.scale) > 1


def _axis_after_reshape(before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int | None:
    """Return where an axis went, if a reshape left it whole."""
    lead = int(np.prod(before[:axis]))
    for place, size in enumerate(after):
        if size == before[axis] and int(np.prod(after[:place])) == lead:
            return place
    return None


def _needed(operators: list[Any], outputs: Any) -> list[Any]:
    """Drop the operators whose results nothing reads."""
    wanted = {int(index) for index in outputs}
    kept = []
    for op in reversed(operators):
        if wanted.intersection(map(int, op.outputs)):
            wanted.update(map(int, op.inputs))
            kept.append(op)
    return kept[::-1]
