"""Reductions over axes (all when not given), of integers too."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgekit.errors import UnavailableError
from edgekit.mil.kernels import ints, kernel, scalar

_Reduce = Callable[[Tensor, list[int]], Tensor]


@kernel("reduce_argmax")
def reduce_argmax(
    *,
    x: Tensor,
    axis: Tensor | None = None,
    keep_dims: Tensor | None = None,
    output_dtype: str = "int32",
) -> Tensor:
    """Index of the first largest along an axis, as int32; iOS17 added output_dtype."""
    return _argument(torch.argmax, x, axis, keep_dims, output_dtype)


@kernel("reduce_argmin")
def reduce_argmin(
    *,
    x: Tensor,
    axis: Tensor | None = None,
    keep_dims: Tensor | None = None,
    output_dtype: str = "int32",
) -> Tensor:
    """Index of the first smallest along an axis, as int32; iOS17 added output_dtype."""
    return _argument(torch.argmin, x, axis, keep_dims, output_dtype)


@kernel("reduce_l1_norm")
def reduce_l1_norm(
    *, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None
) -> Tensor:
    """Sum of absolute values."""
    return _reduce(_sum, x.abs(), axes, keep_dims)


@kernel("reduce_l2_norm")
def reduce_l2_norm(
    *, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None
) -> Tensor:
    """Square root of the sum of squares."""
    return _reduce(_sum, x * x, axes, keep_dims).sqrt().to(x.dtype)


@kernel("reduce_log_sum")
def reduce_log_sum(
    *, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None
) -> Tensor:
    """Natural logarithm of the sum."""
    return _reduce(_sum, x, axes, keep_dims).log().to(x.dtype)


@kernel("reduce_log_sum_exp")
def reduce_log_sum_exp(
    *, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None
) -> Tensor:
    """Natural logarithm of the sum of exponentials."""
    numbers = x if x.is_floating_point() else x.float()
    return _reduce(torch.logsumexp, numbers, axes, keep_dims).to(x.dtype)


@kernel("reduce_max")
def reduce_max(*, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
    """Largest element."""
    return _reduce(torch.amax, x, axes, keep_dims)


@kernel("reduce_mean")
def reduce_mean(
    *, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None
) -> Tensor:
    """Mean; of integers, towards zero."""
    numbers = x if x.is_floating_point() else x.double()
    return _reduce(torch.mean, numbers, axes, keep_dims).to(x.dtype)


@kernel("reduce_min")
def reduce_min(*, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
    """Smallest element."""
    return _reduce(torch.amin, x, axes, keep_dims)


@kernel("reduce_prod")
def reduce_prod(
    *, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None
) -> Tensor:
    """Product."""
    return _reduce(_product, x, axes, keep_dims)


@kernel("reduce_sum")
def reduce_sum(*, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
    """Sum."""
    return _reduce(_sum, x, axes, keep_dims)


@kernel("reduce_sum_square")
def reduce_sum_square(
    *, x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None
) -> Tensor:
    """Sum of squares."""
    return _reduce(_sum, x * x, axes, keep_dims)


def _reduce(function: _Reduce, x: Tensor, axes: Tensor | None, keep_dims: Tensor | None) -> Tensor:
    """Reduce over `axes`; no axes at all reduce nothing, which torch would read as all of them."""
    chosen = sorted({a % x.dim() for a in (range(x.dim()) if axes is None else ints(axes))})
    out = function(x, chosen) if chosen else function(x.unsqueeze(-1), [x.dim()])
    if keep_dims is not None and scalar(keep_dims):
        for axis in chosen:
            out = out.unsqueeze(axis)
    return out


def _sum(x: Tensor, axes: list[int]) -> Tensor:
    return x.sum(axes, dtype=x.dtype)


def _product(x: Tensor, axes: list[int]) -> Tensor:
    for axis in reversed(axes):
        x = x.prod(axis, dtype=x.dtype)
    return x


def _argument(
    function: Callable[..., Tensor],
    x: Tensor,
    axis: Tensor | None,
    keep_dims: Tensor | None,
    output_dtype: str,
) -> Tensor:
    if output_dtype.lower() not in ("int32", "uint16"):
        raise UnavailableError(f"an index of type {output_dtype} is not in the reference runtime")
    keep = keep_dims is not None and bool(scalar(keep_dims))
    return function(x, -1 if axis is None else int(scalar(axis)), keepdim=keep).to(torch.int32)
