"""Functions of single elements that converters lack, or compute with too few digits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from edgekit.passes.graph import computed_now
from edgekit.passes.rules import rule

_INEXACT_SIXTH = "1/6 in float16 is off by 2.4e-4, always to the same side"
_NO_BITS = "no operations on bits"
_BITS = 31  # of a 32-bit integer, below the one for its sign


@rule("hardsigmoid.default", coreml=_INEXACT_SIXTH)
def hardsigmoid(x: Tensor) -> Tensor:
    """Divide: that is exact."""
    return F.relu6(x + 3) / 6


@rule("hardswish.default", coreml=_INEXACT_SIXTH)
def hardswish(x: Tensor) -> Tensor:
    """Divide: that is exact."""
    return x * F.relu6(x + 3) / 6


@rule(
    "fmax.default",
    coreml="no operation for it",
    onnx="no function for it",
    tflite="no lowering for it",
)
def fmax(x: Tensor, y: Tensor) -> Tensor:
    """Prefer a number to what is none."""
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.maximum(x, y)))


@rule(
    "fmin.default",
    coreml="no operation for it",
    onnx="no function for it",
    tflite="no lowering for it",
)
def fmin(x: Tensor, y: Tensor) -> Tensor:
    """Prefer a number to what is none."""
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.minimum(x, y)))


@rule(
    "hypot.default",
    coreml="no operation for it",
    onnx="no function for it",
    tflite="no lowering for it",
)
def hypot(x: Tensor, y: Tensor) -> Tensor:
    """Write it as it is defined."""
    return (x.square() + y.square()).sqrt()


@rule("erfc.default", coreml="no operation for it", tflite="no lowering for it")
def erfc(x: Tensor) -> Tensor:
    """Write it as it is defined."""
    return 1.0 - x.erf()


@rule("erfinv.default", coreml="no operation for it")
def erfinv(x: Tensor) -> Tensor:
    """Take a polynomial of ``-log(1 - x^2)`` near 0, and one of its root far out.

    They are M. Giles', "Approximating the erfinv function" (2010).
    """
    w = -((1 - x) * (1 + x)).log()
    near = _polynomial(w - 2.5, _NEAR)
    far = _polynomial(w.sqrt() - 3.0, _FAR)
    return torch.where(w < 5, near, far) * x


_NEAR = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
_FAR = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


def _polynomial(x: Tensor, factors: tuple[float, ...]) -> Tensor:
    """Compute a polynomial by Horner's rule, the highest power's factor first."""
    total = torch.full_like(x, factors[0])
    for factor in factors[1:]:
        total = total * x + factor
    return total


@rule("exp2.default", tflite="no lowering for it")
def exp2(x: Tensor) -> Tensor:
    """Take the natural base."""
    return (x * math.log(2)).exp()


@rule("signbit.default", coreml="no operation for it")
def signbit(x: Tensor) -> Tensor:
    """Ask what is less than 0; a negative zero counts as zero."""
    return x < 0


@rule("trunc.default", coreml="no operation for it")
def trunc(x: Tensor) -> Tensor:
    """Round the magnitude down."""
    return x.abs().floor() * x.sign()


@rule("frac.default", coreml="no operation for it")
def frac(x: Tensor) -> Tensor:
    """Take away what `trunc` gives."""
    return x - trunc(x)


@rule("atan2.default", coreml="0 in place of pi on the negative axis")
def atan2(y: Tensor, x: Tensor) -> Tensor:
    """Choose by the quadrant; a negative zero counts as zero."""
    slope = (y / torch.where(x == 0, torch.ones_like(x), x)).atan()
    behind = slope + torch.where(y < 0, -math.pi, math.pi)
    upright = y.sign() * (math.pi / 2)
    return torch.where(x > 0, slope, torch.where(x < 0, behind, upright)).to(slope.dtype)


@rule("acosh.default", coreml="its converter calls an operation that is not there")
def acosh(x: Tensor) -> Tensor:
    """Write it by the logarithm; ``x^2 - 1`` by its factors loses nothing near 1."""
    return (x + ((x - 1) * (x + 1)).sqrt()).log()


@rule("asinh.default", coreml="its converter calls an operation that is not there")
def asinh(x: Tensor) -> Tensor:
    """Write it by the logarithm of 1 + y, which loses nothing near 0."""
    size = x.abs()
    square = size.square()
    return (size + square / (1 + (square + 1).sqrt())).log1p() * x.sign()


@rule("clamp_min.default", coreml="wants both bounds")
def clamp_min(x: Tensor, low: float) -> Tensor:
    """Leave the other bound out."""
    return x.clamp(min=low)


@rule("clamp_max.default", coreml="wants both bounds")
def clamp_max(x: Tensor, high: float) -> Tensor:
    """Leave the other bound out."""
    return x.clamp(max=high)


@rule("masked_fill.Scalar", "masked_fill.Tensor", coreml="does not broadcast to the mask")
def masked_fill(x: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Choose between the value and a number of its type."""
    number = torch.full((), value, dtype=x.dtype) if not isinstance(value, Tensor) else value
    return torch.where(mask, number.to(x.dtype), x)


@rule("hardshrink.default", coreml="mixes types")
def hardshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """Choose between the value and a zero of its type."""
    return torch.where(x.abs() > lambd, x, torch.zeros_like(x))


@rule("log1p.default", tflite="log(1 + x), which loses small x")
def log1p(x: Tensor) -> Tensor:
    """Near 0 take ``2 atanh(s)`` with ``s = x / (2 + x)`` by its series, s^11 / 11 left out."""
    s = x / (2.0 + x)
    square = s * s
    series = 1.0 + square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9)))
    return torch.where(x.abs() < 0.3, 2.0 * s * series, (1.0 + x).log())


@rule("prelu.default", coreml="one slope per channel only for images")
def prelu(x: Tensor, weight: Tensor) -> Any:
    """Choose by the sign."""
    if x.dim() == 4 or weight.numel() == 1:
        return NotImplemented
    slope = weight.reshape(-1, *[1] * (x.dim() - 2)) if x.dim() > 1 else weight
    return torch.where(x > 0, x, x * slope)


# -- Bits ------------------------------------------------------------------------------------------


@rule(
    "__lshift__.Scalar",
    "bitwise_left_shift.Tensor_Scalar",
    coreml="no operation for it",
    tflite="no lowering for it",
)
def left_shift(x: Tensor, count: int) -> Tensor:
    """Multiply."""
    factor: int = 2**count
    return x * factor


@rule(
    "__rshift__.Scalar",
    "bitwise_right_shift.Tensor_Scalar",
    coreml="no operation for it",
    tflite="no lowering for it",
)
def right_shift(x: Tensor, count: int) -> Tensor:
    """Divide, and round down."""
    return torch.div(x, 2**count, rounding_mode="floor")


@rule("bitwise_and.Tensor", "__and__.Tensor", coreml=_NO_BITS, tflite=_NO_BITS)
def bitwise_and(x: Tensor, y: Tensor) -> Tensor:
    """Bits are both 1 where their product is."""
    if x.dtype is torch.bool and y.dtype is torch.bool:
        return torch.logical_and(x, y)
    return _number(_bits(x) * _bits(y)).to(torch.promote_types(x.dtype, y.dtype))


@rule("bitwise_or.Tensor", "__or__.Tensor", coreml=_NO_BITS, tflite=_NO_BITS)
def bitwise_or(x: Tensor, y: Tensor) -> Tensor:
    """Either bit is 1 where the larger is."""
    if x.dtype is torch.bool and y.dtype is torch.bool:
        return torch.logical_or(x, y)
    found = _number(torch.maximum(_bits(x), _bits(y)))
    return found.to(torch.promote_types(x.dtype, y.dtype))


@rule("bitwise_xor.Tensor", "__xor__.Tensor", coreml=_NO_BITS, tflite=_NO_BITS)
def bitwise_xor(x: Tensor, y: Tensor) -> Tensor:
    """Bits differ where their difference is not 0."""
    if x.dtype is torch.bool and y.dtype is torch.bool:
        return torch.logical_xor(x, y)
    found = _number((_bits(x) - _bits(y)).abs())
    return found.to(torch.promote_types(x.dtype, y.dtype))


@rule("bitwise_and.Scalar", "__and__.Scalar", coreml=_NO_BITS, tflite=_NO_BITS)
def bitwise_and_number(x: Tensor, y: int) -> Tensor:
    """As for tensors."""
    return bitwise_and(x, torch.full((1,), y, dtype=x.dtype)).reshape(x.shape)


@rule("bitwise_or.Scalar", "__or__.Scalar", coreml=_NO_BITS, tflite=_NO_BITS)
def bitwise_or_number(x: Tensor, y: int) -> Tensor:
    """As for tensors."""
    return bitwise_or(x, torch.full((1,), y, dtype=x.dtype)).reshape(x.shape)


@rule("bitwise_xor.Scalar", "__xor__.Scalar", coreml=_NO_BITS, tflite=_NO_BITS)
def bitwise_xor_number(x: Tensor, y: int) -> Tensor:
    """As for tensors."""
    return bitwise_xor(x, torch.full((1,), y, dtype=x.dtype)).reshape(x.shape)


@rule("bitwise_not.default", coreml="no operations on bits")
def bitwise_not(x: Tensor) -> Tensor:
    """Flip every bit: the negative, less one."""
    return torch.logical_not(x) if x.dtype is torch.bool else -x - 1


def _bits(x: Tensor) -> Tensor:
    """Return the bits of 32-bit integers on a new last axis, the sign's last."""
    x = x.to(torch.int32) if x.dtype.itemsize < 4 else x
    with computed_now():
        weights = torch.cat([2 ** torch.arange(_BITS), torch.tensor([2**30])]).to(x.dtype)
    shifted = torch.div(x.unsqueeze(-1), weights, rounding_mode="floor")
    sign = (x.unsqueeze(-1) < 0).to(x.dtype)
    return torch.cat([torch.remainder(shifted[..., :_BITS], 2), sign], -1)


def _number(bits: Tensor) -> Tensor:
    """Return the integers that bits make up; the sign's counts -2^31, in two halves."""
    with computed_now():
        weights = torch.cat([2 ** torch.arange(_BITS), torch.tensor([-(2**30)])]).to(bits.dtype)
    return (bits * weights).sum(-1).to(bits.dtype) - (bits[..., -1] * 2**30)
