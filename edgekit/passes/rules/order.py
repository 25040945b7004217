"""Order: sorting, and what is defined by it, for formats that can only pick the largest."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edgekit.passes.graph import computed_now
from edgekit.passes.rules import rule

_TOP = "picks the largest of the last axis only"


@rule("sort.default", tflite=_TOP)
def sort(x: Tensor, dim: int = -1, descending: Any = False) -> Any:
    """Pick as many as there are; equal ones stay in order."""
    if x.dim() == 0:
        return x, torch.zeros((), dtype=torch.int64)
    return _largest(x, x.shape[dim], dim, bool(descending))


@rule("sort.stable", tflite=_TOP)
def stable_sort(x: Tensor, *, stable: Any, dim: int = -1, descending: Any = False) -> Any:
    """Pick as many as there are; equal ones stay in order."""
    del stable
    return sort(x, dim, descending)


@rule("topk.default", tflite=_TOP)
def topk(x: Tensor, k: int, dim: int = -1, largest: Any = True, sorted_: Any = True) -> Any:
    """Bring the axis to the end and the smallest to the front."""
    del sorted_
    if x.dim() == 0 or (largest and dim in (-1, x.dim() - 1)):
        return NotImplemented
    return _largest(x, k, dim, bool(largest))


def _largest(x: Tensor, k: int, dim: int, largest: bool) -> tuple[Tensor, Tensor]:
    given = x.to(torch.int32) if x.dtype is torch.bool else x
    found, places = _turned(given, largest).movedim(dim, -1).topk(k)
    values = _turned(found, largest).to(x.dtype)
    return values.movedim(-1, dim), places.movedim(-1, dim)


def _turned(x: Tensor, largest: bool) -> Tensor:
    """Turn the order around; of integers ``-1 - x``, since ``-x`` of the least is none."""
    if largest:
        return x
    return -x if x.is_floating_point() else -1 - x


@rule(
    "searchsorted.Tensor",
    coreml="no operation for it",
    tflite="no lowering for it",
    onnx="no function for it",
)
def searchsorted(
    bounds: Tensor,
    x: Tensor,
    *,
    out_int32: Any = False,
    right: Any = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Any:
    """Count the bounds that are smaller."""
    if sorter is not None or bounds.dim() not in (1, x.dim()):
        return NotImplemented
    rows = bounds if bounds.dim() == 1 else bounds.unsqueeze(-2)
    after = bool(right) or side == "right"
    below = rows <= x.unsqueeze(-1) if after else rows < x.unsqueeze(-1)
    return below.to(torch.int32).sum(-1).to(torch.int32 if out_int32 else torch.int64)


@rule("logcumsumexp.default", coreml="no operation for it", tflite="no lowering for it")
def logcumsumexp(x: Tensor, dim: int) -> Tensor:
    """Sum each row of a triangle, all later ones left out."""
    x = x.movedim(dim, -1)
    size = x.shape[-1]
    with computed_now():
        later = torch.ones(size, size, dtype=torch.bool).triu(1)
    rows = x.unsqueeze(-2).expand(*x.shape, size).masked_fill(later, -math.inf)
    largest = rows.amax(-1, keepdim=True)
    found = (rows - largest).exp().sum(-1).log() + largest.squeeze(-1)
    return found.movedim(-1, dim)


@rule("one_hot.default", tflite="through a scatter and a test of its values", coreml="no operation")
def one_hot(x: Tensor, classes: int = -1) -> Any:
    """Compare with every class."""
    if classes < 0:
        return NotImplemented
    return (x.unsqueeze(-1) == torch.arange(classes)).to(torch.int64)
