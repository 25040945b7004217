"""Which operators of a quantized artifact run as integer kernels, and why the others do not.

What counts is what the runtime executes: ONNX Runtime's graph after its own fusions, and the
operators of a TFLite file.  Operators that only move values, and those that quantize and
dequantize, compute nothing and are left out of the share.  Core ML decides on the device, and does
not say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import registry


@dataclass(frozen=True)
class Placement:
    """The computing operators of one artifact.

    Attributes:
        integer: How many run as integer kernels, by the runtime's name for the operator.
        floating: How many run in float.
        reasons: Why, for each operator in `floating`.
    """

    integer: dict[str, int]
    floating: dict[str, int]
    reasons: dict[str, str]

    @property
    def share(self) -> float:
        """The share of integer kernels among the operators that compute; 1 where none does."""
        counts = [sum(each.values()) for each in (self.integer, self.floating)]
        return counts[0] / sum(counts) if sum(counts) else 1.0

    @property
    def told(self) -> str:
        """One sentence for reports."""
        total = sum(self.integer.values()) + sum(self.floating.values())
        said = f"{sum(self.integer.values())} of {total} computing operators run in integers"
        rest = [
            f"{count} {name} {'do' if count > 1 else 'does'} not: {self.reasons[name]}"
            for name, count in self.floating.items()
        ]
        return "; ".join([said, *rest])

    @staticmethod
    def from_json(data: dict[str, Any]) -> Placement:
        """Rebuild from `to_json`."""
        return Placement(data["integer"], data["floating"], data["reasons"])

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "share": self.share}


def placement(path: Path, format_name: str) -> Placement | None:
    """Read where the operators of an artifact run; None where nothing here can tell."""
    if format_name == "onnx":
        runtime = registry.load("runtimes", "onnxruntime")
        if runtime.unavailable() is not None:
            return None
        return _of_onnx(runtime.executed_operators(path))
    if format_name == "tflite":
        from edgekit.wire import tflite

        return _of_tflite(Counter(tflite.typed_operators(path)))
    return None


_ONNX_INTEGER = {
    *("QGemm", "ConvInteger", "MatMulInteger", "QAttention"),
    *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits"),  # round what they read
}
_ONNX_FUSED = {  # float operator -> what ONNX Runtime makes of it between quantized values
    *("Conv", "Gemm", "MatMul", "Add", "Mul", "Sigmoid", "LeakyRelu", "Softmax", "Concat"),
    *("AveragePool", "GlobalAveragePool", "Where"),
}
_ONNX_NEUTRAL = {
    *("QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape", "Flatten", "Squeeze"),
    *("Unsqueeze", "Slice", "Gather", "MaxPool", "NhwcMaxPool", "Pad", "Split", "Expand", "Tile"),
    *("ReorderInput", "ReorderOutput"),
    *("Identity", "Resize", "DepthToSpace", "SpaceToDepth", "Cast", "Shape", "Constant"),
}


def _of_onnx(found: Mapping[str, int]) -> Placement:
    operators: Counter[str] = Counter()
    for name, count in found.items():
        operators[name.rpartition("::")[2]] += count  # one name in two domains is one operator
    integer = {k: n for k, n in operators.items() if k.startswith("QLinear") or k in _ONNX_INTEGER}
    floating = {k: n for k, n in operators.items() if k not in integer and k not in _ONNX_NEUTRAL}
    return Placement(integer, floating, {name: _onnx_reason(name) for name in floating})


def _onnx_reason(name: str) -> str:
    if name.removeprefix("Fused") in _ONNX_FUSED:
        return "some of its values are not quantized"
    return "ONNX Runtime has no integer kernel for it"


_TFLITE_NEUTRAL = {
    *("QUANTIZE", "DEQUANTIZE", "TRANSPOSE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SLICE"),
    *("STRIDED_SLICE", "PAD", "PADV2", "GATHER", "SPLIT", "SPLIT_V", "TILE", "PACK", "UNPACK"),
    *("BROADCAST_TO", "CAST", "SHAPE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "REVERSE_V2"),
}


def _of_tflite(operators: Mapping[tuple[str, str], int]) -> Placement:
    integer: Counter[str] = Counter()
    floating: Counter[str] = Counter()
    for (name, element), count in operators.items():
        if name not in _TFLITE_NEUTRAL:
            (floating if element.startswith("float") else integer)[name] += count
    reason = "some of its values are not quantized, or its weights are computed"
    return Placement(dict(integer), dict(floating), dict.fromkeys(floating, reason))
