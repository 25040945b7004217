"""Elementwise binary operations; shapes broadcast as in numpy."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.mil.kernels import kernel


@kernel("add")
def add(*, x: Tensor, y: Tensor) -> Tensor:
    """`x + y`."""
    return x + y


@kernel("sub")
def sub(*, x: Tensor, y: Tensor) -> Tensor:
    """`x - y`."""
    return x - y


@kernel("mul")
def mul(*, x: Tensor, y: Tensor) -> Tensor:
    """`x * y`."""
    return x * y


@kernel("real_div")
def real_div(*, x: Tensor, y: Tensor) -> Tensor:
    """`x / y`; of two integers, towards zero, since MIL types that result as an integer."""
    if x.is_floating_point() or y.is_floating_point():
        return x / y
    return _integer_quotient(x, y, "trunc")


@kernel("floor_div")
def floor_div(*, x: Tensor, y: Tensor) -> Tensor:
    """`floor(x / y)`."""
    if x.is_floating_point() or y.is_floating_point():
        return torch.floor_divide(x, y)
    return _integer_quotient(x, y, "floor")


@kernel("mod")
def mod(*, x: Tensor, y: Tensor) -> Tensor:
    """`x - floor(x / y) * y`: the sign is the divisor's."""
    if x.is_floating_point() or y.is_floating_point():
        return torch.remainder(x, y)
    return x - _integer_quotient(x, y, "floor") * y


@kernel("pow")
def pow_(*, x: Tensor, y: Tensor) -> Tensor:
    """`x ** y`."""
    return torch.pow(x, y)


@kernel("maximum")
def maximum(*, x: Tensor, y: Tensor) -> Tensor:
    """The larger of x and y."""
    return torch.maximum(x, y)


@kernel("minimum")
def minimum(*, x: Tensor, y: Tensor) -> Tensor:
    """The smaller of x and y."""
    return torch.minimum(x, y)


@kernel("equal")
def equal(*, x: Tensor, y: Tensor) -> Tensor:
    """`x == y`."""
    return x == y


@kernel("not_equal")
def not_equal(*, x: Tensor, y: Tensor) -> Tensor:
    """`x != y`."""
    return x != y


@kernel("greater")
def greater(*, x: Tensor, y: Tensor) -> Tensor:
    """`x > y`."""
    return x > y


@kernel("greater_equal")
def greater_equal(*, x: Tensor, y: Tensor) -> Tensor:
    """`x >= y`."""
    return x >= y


@kernel("less")
def less(*, x: Tensor, y: Tensor) -> Tensor:
    """`x < y`."""
    return x < y


@kernel("less_equal")
def less_equal(*, x: Tensor, y: Tensor) -> Tensor:
    """`x <= y`."""
    return x <= y


@kernel("logical_and")
def logical_and(*, x: Tensor, y: Tensor) -> Tensor:
    """Both x and y."""
    return torch.logical_and(x, y)


@kernel("logical_or")
def logical_or(*, x: Tensor, y: Tensor) -> Tensor:
    """Either x or y, or both."""
    return torch.logical_or(x, y)


@kernel("logical_xor")
def logical_xor(*, x: Tensor, y: Tensor) -> Tensor:
    """Either x or y, not both."""
    return torch.logical_xor(x, y)


def _integer_quotient(x: Tensor, y: Tensor, rounding: str) -> Tensor:
    """Divide integers in 64 bits: the smallest int32 by -1 would stop the process in 32."""
    quotient = torch.div(x.long(), y.long(), rounding_mode=rounding)
    return quotient.to(torch.promote_types(x.dtype, y.dtype))
