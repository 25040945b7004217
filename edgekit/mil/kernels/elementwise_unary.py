"""Elementwise unary operations, and `cast`."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.errors import UnavailableError
from edgekit.mil.kernels import kernel
from edgekit.mil.values import carry

_CASTS = {
    "bool": "bool", "fp16": "float16", "fp32": "float32", "fp64": "float64",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32",
}  # fmt: skip


@kernel("abs")
def absolute(*, x: Tensor) -> Tensor:
    """`|x|`; integers too."""
    return x.abs()


@kernel("acos")
def acos(*, x: Tensor) -> Tensor:
    """Inverse cosine."""
    return x.acos()


@kernel("asin")
def asin(*, x: Tensor) -> Tensor:
    """Inverse sine."""
    return x.asin()


@kernel("atan")
def atan(*, x: Tensor) -> Tensor:
    """Inverse tangent."""
    return x.atan()


@kernel("atanh")
def atanh(*, x: Tensor) -> Tensor:
    """Inverse hyperbolic tangent."""
    return x.atanh()


@kernel("cast")
def cast(*, x: Tensor, dtype: str) -> Tensor:
    """To another type, numbers to integers towards zero; iOS17 added the 8- and 16-bit integers."""
    wanted = _CASTS.get(dtype.lower())
    if wanted is None:
        raise UnavailableError(f"op cast to {dtype} is not in the reference runtime")
    return carry(x, wanted)


@kernel("ceil")
def ceil(*, x: Tensor) -> Tensor:
    """Round towards positive infinity."""
    return x.ceil()


@kernel("clip")
def clip(*, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """`min(max(x, alpha), beta)`; iOS17 demands alpha < beta."""
    return x.clamp(alpha.item(), beta.item())


@kernel("cos")
def cos(*, x: Tensor) -> Tensor:
    """Cosine."""
    return x.cos()


@kernel("cosh")
def cosh(*, x: Tensor) -> Tensor:
    """Hyperbolic cosine."""
    return x.cosh()


@kernel("erf")
def erf(*, x: Tensor) -> Tensor:
    """Gauss error function."""
    return x.erf()


@kernel("exp")
def exp(*, x: Tensor) -> Tensor:
    """`e ** x`."""
    return x.exp()


@kernel("exp2")
def exp2(*, x: Tensor) -> Tensor:
    """`2 ** x`; integers too, truncated."""
    return x.exp2().to(x.dtype)


@kernel("floor")
def floor(*, x: Tensor) -> Tensor:
    """Round towards negative infinity."""
    return x.floor()


@kernel("inverse")
def inverse(*, x: Tensor, epsilon: Tensor | float = 1e-4) -> Tensor:
    """`1 / (x + epsilon)`; iOS17 lets epsilon have another type than x."""
    return (x + epsilon).reciprocal()


@kernel("log")
def log(*, x: Tensor, epsilon: Tensor | float = 1e-45) -> Tensor:
    """`ln(x + epsilon)`; iOS17 lets epsilon have another type than x."""
    return (x + epsilon).log()


@kernel("logical_not")
def logical_not(*, x: Tensor) -> Tensor:
    """Not x."""
    return x.logical_not()


@kernel("round")
def round_(*, x: Tensor) -> Tensor:
    """Round to nearest, halves to even."""
    return x.round()


@kernel("rsqrt")
def rsqrt(*, x: Tensor, epsilon: Tensor | float = 1e-12) -> Tensor:
    """`1 / sqrt(x + epsilon)`; iOS17 lets epsilon have another type than x."""
    return (x + epsilon).rsqrt()


@kernel("sign")
def sign(*, x: Tensor) -> Tensor:
    """-1, 0 or 1; integers too."""
    return x.sign()


@kernel("sin")
def sin(*, x: Tensor) -> Tensor:
    """Sine."""
    return x.sin()


@kernel("sinh")
def sinh(*, x: Tensor) -> Tensor:
    """Hyperbolic sine."""
    return x.sinh()


@kernel("sqrt")
def sqrt(*, x: Tensor) -> Tensor:
    """Square root."""
    return x.sqrt()


@kernel("square")
def square(*, x: Tensor) -> Tensor:
    """`x * x`; integers too."""
    return x * x


@kernel("tan")
def tan(*, x: Tensor) -> Tensor:
    """Tangent."""
    return x.tan()


@kernel("tanh")
def tanh(*, x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return x.tanh()


@kernel("threshold")
def threshold(*, x: Tensor, alpha: Tensor) -> Tensor:
    """`max(x, alpha)`; integers too."""
    return torch.maximum(x, alpha)
