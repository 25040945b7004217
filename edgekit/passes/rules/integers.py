"""Arithmetic on integers, where a format's operators are for floating-point numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgekit.passes.rules import rule

_FLOATS = "for floating-point numbers only"
_MIXED = "compares numbers of one type, of 32 bits"
_POWERS = 6  # bits of an exponent: beyond 63 nothing but 0 and 1 stays in range


def _is_integer(*values: Any) -> bool:
    """Whether all are integers, and not truth values."""
    return all(
        not each.is_floating_point() and each.dtype is not torch.bool
        if isinstance(each, Tensor)
        else isinstance(each, int)
        for each in values
    )


@rule("abs.default", tflite=_FLOATS)
def absolute(x: Tensor) -> Any:
    """Take the larger of a number and its opposite."""
    return torch.maximum(x, -x) if _is_integer(x) else NotImplemented


@rule("sign.default", tflite=_FLOATS)
def sign(x: Tensor) -> Any:
    """Clip to -1, 0 and 1."""
    return x.clamp(-1, 1) if _is_integer(x) else NotImplemented


@rule("fmod.Tensor", "fmod.Scalar", tflite=_FLOATS)
def fmod(x: Tensor, y: Any) -> Any:
    """Take the remainder of the magnitudes, with the sign of the first."""
    if not _is_integer(x, y):
        return NotImplemented
    return torch.remainder(x.abs(), abs(y)) * x.sign()


@rule("pow.Tensor_Scalar", tflite=_FLOATS)
def power(x: Tensor, exponent: Any) -> Any:
    """Square and multiply."""
    if not _is_integer(x, exponent) or exponent < 0:
        return NotImplemented
    result, base = torch.ones_like(x), x
    for place in range(max(1, exponent.bit_length())):
        if exponent >> place & 1:
            result = result * base
        base = base * base
    return result


@rule("pow.Tensor_Tensor", "pow.Scalar", tflite=_FLOATS)
def power_of_each(x: Any, exponent: Tensor) -> Any:
    """Square and multiply, where the exponent has the bit."""
    if not _is_integer(x, exponent):
        return NotImplemented
    base = x if isinstance(x, Tensor) else torch.full_like(exponent, x)
    result = torch.ones_like(exponent)
    for place in range(_POWERS):
        bit = torch.div(exponent, 2**place, rounding_mode="floor").remainder(2)
        result = result * torch.where(bit == 1, base, torch.ones_like(base))
        base = base * base
    return result


@rule("matmul.default", "mm.default", "bmm.default", tflite=_FLOATS)
def matmul(x: Tensor, y: Tensor) -> Any:
    """Multiply all pairs and sum."""
    if not _is_integer(x, y):
        return NotImplemented
    left, right = (x[None] if x.dim() == 1 else x), (y[:, None] if y.dim() == 1 else y)
    found = (left[..., :, :, None] * right[..., None, :, :]).sum(-2).to(x.dtype)
    found = found.squeeze(-2) if x.dim() == 1 else found
    return found.squeeze(-1) if y.dim() == 1 else found


@rule("eq.Scalar", tflite=_MIXED)
def eq(x: Tensor, y: Any) -> Any:
    """Compare in a type that both have."""
    wide = _common(x, y)
    return NotImplemented if wide is None else x.to(wide) == y


@rule("ne.Scalar", tflite=_MIXED)
def ne(x: Tensor, y: Any) -> Any:
    """Compare in a type that both have."""
    wide = _common(x, y)
    return NotImplemented if wide is None else x.to(wide) != y


@rule("lt.Scalar", tflite=_MIXED)
def lt(x: Tensor, y: Any) -> Any:
    """Compare in a type that both have."""
    wide = _common(x, y)
    return NotImplemented if wide is None else x.to(wide) < y


@rule("le.Scalar", tflite=_MIXED)
def le(x: Tensor, y: Any) -> Any:
    """Compare in a type that both have."""
    wide = _common(x, y)
    return NotImplemented if wide is None else x.to(wide) <= y


@rule("gt.Scalar", tflite=_MIXED)
def gt(x: Tensor, y: Any) -> Any:
    """Compare in a type that both have."""
    wide = _common(x, y)
    return NotImplemented if wide is None else x.to(wide) > y


@rule("ge.Scalar", tflite=_MIXED)
def ge(x: Tensor, y: Any) -> Any:
    """Compare in a type that both have."""
    wide = _common(x, y)
    return NotImplemented if wide is None else x.to(wide) >= y


def _common(x: Tensor, y: Any) -> torch.dtype | None:
    """Return the type to compare in, None where it is the tensor's own."""
    if not _is_integer(x):
        return None
    if isinstance(y, float):
        return torch.float32
    return torch.int32 if x.dtype.itemsize < 4 else None
