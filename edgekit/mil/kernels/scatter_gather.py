"""Kernels of coremltools' scatter_gather.py.

Negative indices count from the end, as iOS15 and iOS16 define and as coremltools folds them in
iOS17, where `validate_indices` forbids them and their meaning is open without it.  An index beyond
the end is an error in every version, since no result could be compared with Core ML's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from edgekit.errors import EdgekitError, UnavailableError
from edgekit.mil.kernels import kernel, scalar
from edgekit.mil.kernels.defaults import FALSE, ZERO

_REDUCTIONS = {"mul": "prod", "max": "amax", "min": "amin"}


@kernel("gather")
def gather(
    *,
    x: Tensor,
    indices: Tensor,
    axis: Tensor = ZERO,
    batch_dims: Tensor = ZERO,
    validate_indices: Tensor = FALSE,
) -> Tensor:
    """Take slices along axis; batch_dims since iOS16, validate_indices since iOS17."""
    dim, batch = scalar(axis) % x.dim(), scalar(batch_dims)
    picks = _resolve(indices, [x.shape[dim]], validate_indices)
    shape = x.shape[:dim] + indices.shape[batch:] + x.shape[dim + 1 :]
    if batch == 0:
        return x.index_select(dim, picks.flatten()).reshape(shape)
    lead, inner = math.prod(x.shape[:batch]), math.prod(x.shape[batch:dim])
    rows = x.reshape(lead, inner, x.shape[dim], math.prod(x.shape[dim + 1 :]))
    columns = picks.reshape(lead, 1, math.prod(indices.shape[batch:]), 1)
    return rows.gather(2, columns.expand(-1, inner, -1, rows.shape[-1])).reshape(shape)


@kernel("gather_along_axis")
def gather_along_axis(
    *, x: Tensor, indices: Tensor, axis: Tensor = ZERO, validate_indices: Tensor = FALSE
) -> Tensor:
    """Take elements along axis, one per index; validate_indices since iOS17."""
    dim = scalar(axis)
    return x.gather(dim, _resolve(indices, [x.shape[dim]], validate_indices))


@kernel("gather_nd")
def gather_nd(
    *,
    x: Tensor,
    indices: Tensor,
    batch_dims: Tensor = ZERO,
    validate_indices: Tensor = FALSE,
) -> Tensor:
    """Take the slices at index vectors; batch_dims since iOS16, validate_indices since iOS17."""
    batch, depth = scalar(batch_dims), indices.shape[-1]
    sizes, rest = x.shape[batch : batch + depth], x.shape[batch + depth :]
    lead, count = math.prod(x.shape[:batch]), math.prod(sizes)
    picks = _flat(_resolve(indices, sizes, validate_indices), sizes).reshape(lead, -1)
    picks = picks + torch.arange(lead).unsqueeze(1) * count
    rows = x.reshape(lead * count, math.prod(rest)).index_select(0, picks.flatten())
    return rows.reshape(indices.shape[:-1] + rest)


@kernel("scatter")
def scatter(
    *,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: Tensor = ZERO,
    mode: str = "add",
    validate_indices: Tensor = FALSE,
) -> Tensor:
    """Combine slices of updates into data along axis; validate_indices since iOS17."""
    dim = scalar(axis) % data.dim()
    picks = _resolve(indices, [data.shape[dim]], validate_indices)
    shape = [*data.shape[:dim], picks.numel(), *data.shape[dim + 1 :]]
    picks = picks.reshape([-1] + [1] * (data.dim() - dim - 1)).expand(shape)
    return _combine(data, dim, picks, updates.reshape(shape), mode)


@kernel("scatter_along_axis")
def scatter_along_axis(
    *,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: Tensor = ZERO,
    mode: str = "add",
    validate_indices: Tensor = FALSE,
) -> Tensor:
    """Combine elements of updates into data along axis; validate_indices since iOS17."""
    dim = scalar(axis)
    picks = _resolve(indices, [data.shape[dim]], validate_indices)
    return _combine(data, dim, picks, updates, mode)


@kernel("scatter_nd")
def scatter_nd(
    *,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    mode: str = "add",
    validate_indices: Tensor = FALSE,
) -> Tensor:
    """Combine slices of updates into data at index vectors; validate_indices since iOS17."""
    sizes, rest = data.shape[: indices.shape[-1]], data.shape[indices.shape[-1] :]
    picks = _flat(_resolve(indices, sizes, validate_indices), sizes).reshape(-1, 1)
    rows = data.reshape(math.prod(sizes), math.prod(rest))
    new = updates.reshape(picks.shape[0], rows.shape[1])
    return _combine(rows, 0, picks.expand_as(new), new, mode).reshape(data.shape)


def _resolve(indices: Tensor, sizes: Sequence[int], validate: Tensor) -> Tensor:
    """Return indices as int64 within [0, size); with several sizes, one per last element."""
    bound = torch.tensor(sizes)
    picks = indices.long()
    if not scalar(validate):
        picks = torch.where(picks < 0, picks + bound, picks)
    if ((picks < 0) | (picks >= bound)).any():
        raise EdgekitError(f"an index lies outside an axis of length {', '.join(map(str, sizes))}")
    return picks


def _flat(picks: Tensor, sizes: Sequence[int]) -> Tensor:
    """Turn index vectors into indices of the flattened leading axes."""
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    return (picks * torch.tensor(strides)).sum(-1)


def _combine(data: Tensor, dim: int, picks: Tensor, updates: Tensor, mode: str) -> Tensor:
    """Scatter updates, each repeated index being applied in turn (the last one wins an update)."""
    match mode:
        case "update":
            return data.scatter(dim, picks, updates)
        case "add":
            return data.scatter_add(dim, picks, updates)
        case "sub":
            return data.scatter_add(dim, picks, -updates)
        case "div" if not data.is_floating_point():
            raise UnavailableError("scattering by integer division is not in the reference runtime")
        case "div":
            divisor = torch.ones_like(data).scatter_reduce(dim, picks, updates, "prod")
            return data / divisor
        case _:
            return data.scatter_reduce(dim, picks, updates, _REDUCTIONS[mode])
