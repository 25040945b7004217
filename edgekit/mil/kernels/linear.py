"""Matrix products; from iOS17 a constant operand may have another type than the other one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.mil.kernels import kernel, scalar


@kernel("linear")
def linear(*, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`; integers too."""
    if x.is_floating_point():
        return functional.linear(x, weight, bias)
    product = x @ weight.T
    return product if bias is None else product + bias


@kernel("matmul")
def matmul(
    *,
    x: Tensor,
    y: Tensor,
    transpose_x: Tensor | None = None,
    transpose_y: Tensor | None = None,
) -> Tensor:
    """`x @ y` over broadcast batch axes, either first transposed in its last two axes."""
    if transpose_x is not None and scalar(transpose_x) and x.dim() > 1:
        x = x.mT
    if transpose_y is not None and scalar(transpose_y) and y.dim() > 1:
        y = y.mT
    return torch.matmul(x, y)


@kernel("einsum")
def einsum(*, values: list[Tensor], equation: str) -> Tensor:
    """Product by equation: of the forms nchw,nwhu->nchu and chw,whr->chr; n and h broadcast."""
    return torch.einsum(equation, *values)
