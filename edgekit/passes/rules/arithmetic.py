"""Arithmetic that converters lack, or keep for floating-point numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgekit.passes.rules import rule


@rule("fmod.Tensor", "fmod.Scalar", coreml="no operation for it")
def fmod(x: Tensor, y: Any) -> Tensor:
    """Take the remainder of the magnitudes, with the sign of the first."""
    return torch.remainder(x.abs(), abs(y)) * x.sign()


@rule(
    "copysign.Tensor",
    "copysign.Scalar",
    coreml="no operation for it",
    tflite="no lowering for it",
    onnx="no function for it",
)
def copysign(x: Tensor, y: Any) -> Tensor:
    """Choose by the sign; a negative zero counts as zero."""
    y = y if isinstance(y, Tensor) else torch.full_like(x, y)
    return torch.where(y < 0, -x.abs(), x.abs())


@rule("add.Tensor", tflite="loses the factor")
def add(x: Tensor, y: Any, *, alpha: float = 1) -> Any:
    """Multiply first."""
    return NotImplemented if alpha == 1 else x + y * alpha


@rule("sub.Tensor", tflite="loses the factor")
def sub(x: Tensor, y: Any, *, alpha: float = 1) -> Any:
    """Multiply first."""
    return NotImplemented if alpha == 1 else x - y * alpha


@rule("rsub.Tensor", "rsub.Scalar", tflite="loses the factor")
def rsub(x: Tensor, y: Any, alpha: float = 1) -> Any:
    """Multiply first."""
    return NotImplemented if alpha == 1 else y - x * alpha
