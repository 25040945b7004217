"""Integers at the border of a TFLite model: ``--io int8``.

A quantized model takes floats, quantizes them, and dequantizes what it gives.  Here the border
moves inwards over these operators, and over those on the way that only move values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgekit.errors import ConversionError
from edgekit.formats._tflite_graph import forget_unused, name_of, packed, unpacked
from edgekit.tensors import DType, Signature, TensorSpec

_FLOAT, _BYTE = schema.TensorType.FLOAT32, schema.TensorType.INT8
_MOVING = {"TRANSPOSE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"}


def narrow(content: bytes, signature: Signature) -> tuple[bytes, Signature]:
    """Return the model with 8-bit inputs and outputs in place of float ones, and its signature.

    Raises:
        ConversionError: a float input is read, or a float output written, by a float operator.
    """
    model = unpacked(content)
    found: dict[str, Any] = {}
    for definition in model.signatureDefs:
        border = _Border(model, model.subgraphs[definition.subgraphIndex])
        for each in definition.inputs:
            if border.is_float(each.tensorIndex):
                found[each.name.decode()] = border.take(each.tensorIndex, each.name.decode())
        for each in definition.outputs:
            if border.is_float(each.tensorIndex):
                each.tensorIndex = border.give(each.tensorIndex, each.name.decode())
                tensor = border.graph.tensors[each.tensorIndex]
                found[each.name.decode()] = tensor.quantization
    forget_unused(model)
    sides = (tuple(_narrowed(s, found) for s in specs) for specs in vars(signature).values())
    return packed(model), Signature(*sides)


def _narrowed(spec: TensorSpec, found: Mapping[str, Any]) -> TensorSpec:
    if spec.name not in found:
        return spec
    scheme = found[spec.name]
    return replace(
        spec,
        dtype=DType.INT8,
        source_dtype=spec.source_dtype or spec.dtype,
        scale=float(scheme.scale[0]),
        zero_point=int(scheme.zeroPoint[0]),
    )


class _Border:
    """The inputs and outputs of one subgraph."""

    def __init__(self, model: Any, graph: Any) -> None:
        self.model, self.graph = model, graph

    def is_float(self, index: int) -> bool:
        return bool(self.graph.tensors[index].type == _FLOAT)

    def take(self, index: int, name: str) -> Any:
        """Let an input come as integers; return their scheme."""
        quantizing, moved = self._readers(index, name)
        schemes = [self.graph.tensors[op.outputs[0]].quantization for op in quantizing]
        if len({(each.scale[0], each.zeroPoint[0]) for each in schemes}) != 1:
            raise _refusal(f"The input {name!r} is read with several scales")
        for each in (index, *moved):
            self.graph.tensors[each].type = _BYTE
            self.graph.tensors[each].quantization = schemes[0]
        for op in quantizing:
            self._replace(op.outputs[0], op.inputs[0])
            self.graph.operators.remove(op)
        return schemes[0]

    def give(self, index: int, name: str) -> int:
        """Return the integer tensor that an output is made of, an output itself from now on."""
        (op,) = (each for each in self.graph.operators if index in each.outputs)
        if (
            name_of(self.model, op) != "DEQUANTIZE"
            or self.graph.tensors[op.inputs[0]].type != _BYTE
        ):
            raise _refusal(f"The output {name!r} is computed in float")
        integer = int(op.inputs[0])
        self.graph.outputs = [integer if each == index else each for each in self.graph.outputs]
        if not any(index in each.inputs for each in self.graph.operators):
            self.graph.operators.remove(op)
        return integer

    def _readers(self, index: int, name: str) -> tuple[list[Any], list[int]]:
        """Return what quantizes a value, and the tensors on the way."""
        quantizing, moved = [], []
        for op in self.graph.operators:
            if index not in op.inputs:
                continue
            kind = name_of(self.model, op)
            if kind == "QUANTIZE" and self.graph.tensors[op.outputs[0]].type == _BYTE:
                quantizing.append(op)
            elif kind in _MOVING:
                more, passed = self._readers(op.outputs[0], name)
                quantizing += more
                moved += [op.outputs[0], *passed]
            else:
                raise _refusal(f"The input {name!r} is read in float, by {kind}")
        return quantizing, moved

    def _replace(self, old: int, new: int) -> None:
        for op in self.graph.operators:
            op.inputs = [new if each == old else each for each in op.inputs]
        self.graph.outputs = [new if each == old else each for each in self.graph.outputs]


def _refusal(why: str) -> ConversionError:
    return ConversionError(
        f"{why}: it cannot be 8 bits.", "Leave --io out; the layers at the border must be int8."
    )
