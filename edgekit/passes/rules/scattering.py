"""Writing by index where several writes meet: sums, largest and smallest, masks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edgekit.passes import scatter  # noqa: F401 - defines the operator
from edgekit.passes.rules import rule

_MEET = "its scatter keeps one of several that meet, or takes few forms"
_LIMITS: dict[str, Any] = {"amax": (-1, torch.maximum), "amin": (1, torch.minimum)}


@rule("scatter_add.default", tflite=_MEET)
def scatter_add(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Add up what goes to each place, then add it all."""
    return x + _sums(x, dim, index, source)


@rule("scatter.src", "scatter.value", tflite="no 64-bit integers")
def scatter_(x: Tensor, dim: int, index: Tensor, source: Any) -> Any:
    """Write 32-bit integers, as TFLite has no others in the end."""
    if x.dtype is not torch.int64:
        return NotImplemented
    narrow = source.to(torch.int32) if isinstance(source, Tensor) else source
    return x.to(torch.int32).scatter(dim, index, narrow).to(torch.int64)


@rule("index_add.default", tflite=_MEET)
def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """Add up the slices that go to each place."""
    moved = source.movedim(dim, 0)
    added = _scattered(index.reshape(-1, 1), moved, x.movedim(dim, 0).shape).movedim(0, dim)
    return x + (added if alpha == 1 else added * alpha)


@rule("index_put.default", "_unsafe_index_put.default", tflite=_MEET)
def index_put(
    x: Tensor, indices: list[Tensor | None], values: Tensor, accumulate: Any = False
) -> Any:
    """Choose by a mask; add up what goes to the places of leading axes."""
    given = [each for each in indices if each is not None]
    if len(given) == 1 and given[0].dtype is torch.bool and values.numel() == 1:
        mask = given[0].reshape(*given[0].shape, *[1] * (x.dim() - given[0].dim()))
        new = x + values if accumulate else values.expand_as(x)
        return torch.where(mask, new, x) if indices[0] is not None else NotImplemented
    if not accumulate or len(given) != len(indices) or any(g.dtype is torch.bool for g in given):
        return NotImplemented
    common = torch.broadcast_shapes(*(each.shape for each in given))  # type: ignore[no-untyped-call]
    places = torch.stack([each.expand(common) for each in given], -1)
    values = values.expand(*places.shape[:-1], *x.shape[len(given) :])
    sizes = x.shape[: len(given)]
    wrapped = torch.where(places < 0, places + torch.tensor(sizes), places)
    return x + _scattered(wrapped, values, x.shape)


@rule("scatter_reduce.two", tflite=_MEET)
def scatter_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: Any = True
) -> Any:
    """Add up, or look for the extreme among all that go to each place."""
    if reduce in ("sum", "mean") and include_self:
        total = x + _sums(x, dim, index, source)
        if reduce == "sum":
            return total
        return total / (1 + _sums(x, dim, index, torch.ones_like(source)))
    if reduce not in _LIMITS or not include_self or not x.is_floating_point():
        return NotImplemented
    sign, choose = _LIMITS[reduce]
    sizes = [
        min(a, b) if d != dim % x.dim() else b
        for d, (a, b) in enumerate(zip(x.shape, index.shape, strict=True))
    ]
    slots = torch.arange(x.shape[dim]).reshape(-1, *[1] * index.dim())
    here = index.unsqueeze(0) == slots
    cut = source[tuple(slice(0, size) for size in sizes)]
    candidates = torch.where(here, cut, sign * math.inf)
    dim %= x.dim()
    reduced = candidates.amax(dim + 1) if reduce == "amax" else candidates.amin(dim + 1)
    found = reduced.movedim(0, dim)
    if found.shape != x.shape:
        return NotImplemented
    return choose(x, found)


def _sums(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Return for each place of `x` the sum of what `scatter_add` brings there."""
    cut = source[tuple(slice(0, size) for size in index.shape)]
    axes = []
    for axis, size in enumerate(index.shape):
        if axis == dim % x.dim():
            axes.append(index)
        else:
            along = [1] * index.dim()
            along[axis] = size
            axes.append(torch.arange(size).reshape(along).expand(index.shape))
    return _scattered(torch.stack(axes, -1), cut, x.shape)


def _scattered(places: Tensor, values: Tensor, shape: Any) -> Tensor:
    found: Tensor = torch.ops.edgekit.scatter_sum(places.to(torch.int32), values, list(shape))
    return found
