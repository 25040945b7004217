"""Where the extreme value stands."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from edgekit.passes.rules import rule

if TYPE_CHECKING:
    from torch import Tensor

_SMALLER = "wants the index as large as the tensor on the other axes"
_TYPES = "joins tensors of one type only"
_LAST = "looks along the last axis only"


@rule("argmax.default", coreml=_LAST)
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Look along the one axis of all elements."""
    return x.reshape(-1).argmax(0) if dim is None and not keepdim else NotImplemented


@rule("argmin.default", coreml=_LAST)
def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Look along the one axis of all elements."""
    return x.reshape(-1).argmin(0) if dim is None and not keepdim else NotImplemented


@rule(
    "where.ScalarSelf",
    "where.ScalarOther",
    "where.Scalar",
    coreml="a number's type is not the tensor's",
)
def where(condition: Tensor, x: Any, y: Any) -> Tensor:
    """Give a number the type of the result."""
    import torch

    kind = torch.result_type(x, y)
    one, two = (
        each.to(kind) if isinstance(each, torch.Tensor) else torch.full((), each, dtype=kind)
        for each in (x, y)
    )
    return torch.where(condition, one, two)


@rule("gather.default", coreml=_SMALLER)
def gather(x: Tensor, dim: int, index: Tensor, **_options: Any) -> Any:
    """Cut off what the index does not reach."""
    small = _cut(x, dim, index)
    return NotImplemented if small is x else small.gather(dim, index)


@rule("scatter.src", "scatter_add.default", "scatter_reduce.two", shared=True, coreml=_SMALLER)
def scatter(
    operator: Any, x: Tensor, dim: int, index: Tensor, source: Tensor, *how: Any, **options: Any
) -> Any:
    """Scatter into the part that the index reaches, and put the rest back."""
    source = source[tuple(slice(size) for size in index.shape)]
    return _in_part(operator, x, dim, index, source, *how, **options)


@rule("scatter.value", shared=True, coreml=_SMALLER)
def scatter_value(operator: Any, x: Tensor, dim: int, index: Tensor, value: float) -> Any:
    """Scatter into the part that the index reaches, and put the rest back."""
    return _in_part(operator, x, dim, index, value)


def _in_part(
    operator: Any, x: Tensor, dim: int, index: Tensor, source: Any, *how: Any, **options: Any
) -> Any:
    import torch

    small = _cut(x, dim, index)
    if small is x:
        return NotImplemented
    found = operator(small, dim, index, source, *how, **options)
    for axis in range(x.dim()):  # the rest along one axis after another
        done, size = found.shape[axis], x.shape[axis]
        if done < size:
            rest = _front(x, list(found.shape), but=axis).narrow(axis, done, size - done)
            found = torch.cat([found, rest], axis)
    return found


def _cut(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return the front of a tensor that an index reaches on all axes but one."""
    return _front(x, list(index.shape), but=dim % x.dim() if x.dim() else 0)


def _front(x: Tensor, sizes: list[int], *, but: int) -> Tensor:
    for axis, size in enumerate(sizes):
        if axis != but and size < x.shape[axis]:
            x = x.narrow(axis, 0, size)
    return x


@rule("scatter_reduce.two", coreml="has no mean, and always counts what is there already")
def scatter_reduce(
    x: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Any:
    """Begin with what changes nothing, where the tensor's own values do not count."""
    import torch

    if not include_self:
        bounds = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(torch.int32)
        neutral = {"amax": bounds.min, "amin": bounds.max, "prod": 1}.get(reduce, 0)
        begun = x.scatter(dim, index, neutral)
        if reduce != "mean":
            return begun.scatter_reduce(dim, index, source, reduce)
        counts = torch.zeros_like(x).scatter_add(dim, index, torch.ones_like(source))
        return _divided(begun.scatter_add(dim, index, source), counts.clamp(min=1))
    if reduce == "sum":
        return x.scatter_add(dim, index, source)
    if reduce != "mean":
        return NotImplemented
    counts = torch.ones_like(x).scatter_add(dim, index, torch.ones_like(source))
    return _divided(x.scatter_add(dim, index, source), counts)


def _divided(total: Tensor, counts: Tensor) -> Tensor:
    import torch

    if total.is_floating_point():
        return total / counts
    return torch.div(total, counts, rounding_mode="floor")


@rule("bucketize.Tensor", coreml="one sorted row for all only", onnx="no function")
def bucketize(x: Tensor, row: Tensor, *, out_int32: bool = False, right: bool = False) -> Any:
    """Count the bounds that lie below."""
    import torch

    sought = x.unsqueeze(-1)
    kind = torch.int32 if out_int32 else torch.int64
    flags = row <= sought if right else row < sought
    return flags.to(kind).sum(-1).to(kind)


@rule("cat.default", tflite=_TYPES)
def cat(parts: list[Tensor], dim: int = 0) -> Any:
    """Convert to the common type first."""
    import torch

    types = {part.dtype for part in parts}
    if len(types) == 1:
        return NotImplemented
    wide = reduce(torch.promote_types, types)
    return torch.cat([part.to(wide) for part in parts], dim)
