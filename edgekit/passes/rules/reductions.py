"""Reductions and bags that converters lack."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edgekit.passes.graph import computed_now
from edgekit.passes.rules import rule

_SUM, _MEAN, _MAX = range(3)
_ROUNDED = "the mean of integers is an integer"


@rule(
    "aminmax.default",
    coreml="two results of one operator",
    tflite="no lowering",
    onnx="no function",
)
def aminmax(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Find them apart."""
    dims = list(range(x.dim())) if dim is None else [dim]
    return x.amin(dims, keepdim), x.amax(dims, keepdim)


@rule("mean.default", "mean.dim", coreml=_ROUNDED, onnx=_ROUNDED, tflite="loses the type")
def mean(x: Tensor, *where: Any, dtype: torch.dtype | None = None) -> Any:
    """Convert first."""
    return NotImplemented if x.is_floating_point() else x.to(dtype).mean(*where)


@rule("prod.default", coreml="no operation that its converter calls")
def prod_of_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """Multiply along the one axis that is left."""
    return prod(x.reshape(-1), 0, dtype=dtype)


@rule("prod.dim_int", coreml="no operation that its converter calls")
def prod(x: Tensor, dim: int, keepdim: Any = False, *, dtype: torch.dtype | None = None) -> Tensor:
    """Multiply one half with the other until one is left."""
    wide = torch.int64 if dtype is None and not x.is_floating_point() else dtype
    x = x if wide is None else x.to(wide)
    while x.shape[dim] > 1:
        half = x.shape[dim] // 2
        halves = x.narrow(dim, 0, half) * x.narrow(dim, half, half)
        odd = x.shape[dim] % 2
        x = torch.cat([halves, x.narrow(dim, 2 * half, 1)], dim) if odd else halves
    return x if keepdim else x.squeeze(dim)


@rule(
    "kthvalue.default",
    coreml="no operation for it",
    onnx="no function for it",
    tflite="no lowering for it",
)
def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: Any = False) -> tuple[Tensor, Tensor]:
    """Sort, and take what comes at that place."""
    found = (each.narrow(dim, k - 1, 1) for each in x.sort(dim))
    values, places = (each if keepdim else each.squeeze(dim) for each in found)
    return values, places


@rule(
    "median.dim",
    coreml="no operation for it",
    onnx="no function for it",
    tflite="no lowering for it",
)
def median(x: Tensor, dim: int, keepdim: Any = False) -> tuple[Tensor, Tensor]:
    """Return the lower of the two in the middle, as PyTorch does."""
    return kthvalue(x, (x.shape[dim] + 1) // 2, dim, keepdim)


@rule(
    "cumprod.default",
    coreml="no operation for it",
    onnx="no function for it",
    tflite="no lowering for it",
)
def cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """Multiply with what stands 1, 2, 4, ... places before; after log2(n) steps it is all."""
    x = (x if dtype is None else x.to(dtype)).movedim(dim, -1)
    size, reach = x.shape[-1], 1
    while reach < size:
        ones = torch.ones_like(x[..., :reach])
        x = x * torch.cat([ones, x[..., : size - reach]], -1)
        reach *= 2
    return x.movedim(-1, dim)


@rule(
    "cummax.default",
    coreml="no operation for it",
    onnx="no function for it",
    tflite="no lowering for it",
)
def cummax(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Take the largest of each row of a triangle, all later ones out of the question."""
    x = x.movedim(dim, -1)
    size = x.shape[-1]
    with computed_now():
        later = torch.ones(size, size, dtype=torch.bool).triu(1)
    rows = x.unsqueeze(-2).expand(*x.shape, size)
    values, places = rows.masked_fill(later, -math.inf).max(-1)
    return values.movedim(-1, dim), places.movedim(-1, dim)


@rule(
    "cummin.default",
    coreml="no operation for it",
    onnx="no function for it",
    tflite="no lowering for it",
)
def cummin(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Take the largest of the negatives."""
    values, places = cummax(-x, dim)
    return -values, places


@rule(
    "median.default",
    coreml="no operation for it",
    onnx="no function for it",
    tflite="no lowering for it",
)
def median_of_all(x: Tensor) -> Tensor:
    """Take it along the one axis that is left."""
    return median(x.reshape(-1), 0)[0]


@rule("index_fill.int_Scalar", coreml="ranks do not fit")
def index_fill(x: Tensor, dim: int, index: Tensor, value: float) -> Tensor:
    """Choose by a mask of the axis."""
    places = torch.arange(x.shape[dim])
    mask = (places[:, None] == index.reshape(1, -1)).any(1)
    shape = [1] * x.dim()
    shape[dim] = -1
    return torch.where(mask.reshape(shape), torch.full_like(x, value), x)


@rule(
    "embedding_bag.padding_idx",
    "_embedding_bag.default",
    "_embedding_bag_forward_only.default",
    coreml="no operation for it",
    tflite="no lowering for it",
    onnx="no function for it",
)
def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    _scale_by_frequency: bool = False,
    mode: int = _SUM,
    _sparse: bool = False,
    shares: Tensor | None = None,
    include_last_offset: bool = False,
    padding: int | None = -1,
) -> tuple[Tensor, None, None, None]:
    """Multiply the embeddings with a matrix that says which bag each belongs to.

    Of the operator's four results only the first is for inference.
    """
    members = _members(indices, offsets, include_last_offset)
    if padding is not None and padding >= 0:
        members = members & (indices != padding)
    rows = weight.index_select(0, indices)
    counts = members.to(weight.dtype)
    if mode == _MAX:
        masked = torch.where(members[:, :, None], rows, -math.inf).amax(1)
        found = torch.where(members.any(1, keepdim=True), masked, 0.0)
    else:
        found = (counts if shares is None else counts * shares) @ rows
        if mode == _MEAN:
            found = found / counts.sum(1, keepdim=True).clamp(min=1.0)
    return found, None, None, None


def _members(indices: Tensor, offsets: Tensor, include_last_offset: Any) -> Tensor:
    """Return whether an index (column) lies in a bag (row)."""
    places = torch.arange(indices.shape[0])
    if include_last_offset:
        starts, ends = offsets[:-1], offsets[1:]
    else:
        starts = offsets
        ends = torch.cat([offsets[1:], torch.full((1,), indices.shape[0], dtype=offsets.dtype)])
    return (starts[:, None] <= places) & (places < ends[:, None])
