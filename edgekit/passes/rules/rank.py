"""Tensors of more than five axes: axes that an operator treats alike are joined while it works.

What is left then are reshapes one after the other, of which only the last one counts; see
`edgekit.passes.join_reshapes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from edgekit.passes.rules import rule

MOST_AXES = 5
_ATEN = torch.ops.aten
_WHY = "five axes at most"
_POINTWISE = (
    *("add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge", "remainder"),
    *("pow.Tensor_Tensor", "pow.Tensor_Scalar", "maximum.default", "minimum.default"),
    *("where.self", "clamp.default", "logical_and.default", "logical_or.default"),
    *("logical_not.default", "_to_copy.default", "abs.default", "neg.default", "exp.default"),
    *("log.default", "sqrt.default", "rsqrt.default", "reciprocal.default", "square.default"),
    *("relu.default", "gelu.default", "silu.default", "sigmoid.default", "tanh.default"),
    *("hardswish.default", "leaky_relu.default", "erf.default", "sin.default", "cos.default"),
    *("floor.default", "ceil.default", "round.default"),
)


@rule("permute.default", coreml=_WHY)
def permute(x: Tensor, dims: Sequence[int]) -> Any:
    """Move axes that stay together as one; where six are left, one after another."""
    if x.dim() <= MOST_AXES:
        return NotImplemented
    order = [dim % x.dim() for dim in dims]
    wanted = [x.shape[dim] for dim in order]
    while order != sorted(order):
        groups = _runs(order, x.shape)
        if len(groups) <= MOST_AXES:
            sizes = _joined(x.shape, sorted(groups))
            ranks = sorted(range(len(groups)), key=lambda i: groups[i])
            x = x.reshape(sizes).permute([ranks.index(i) for i in range(len(groups))])
            break
        place = next(i for i, dim in enumerate(order) if dim != i)
        x = _brought_forward(x, order[place], place)
        moved = order[place]
        order = [
            dim + 1 if place <= dim < moved else place if dim == moved else dim for dim in order
        ]
    return x.reshape(wanted)


@rule("pixel_unshuffle.default", coreml="from iOS 16 on")
def pixel_unshuffle(x: Tensor, factor: int) -> Tensor:
    """Cut into tiles, and put a tile's places before its pixels."""
    *before, channels, rows, columns = x.shape
    down, across = rows // factor, columns // factor
    tiles = x.reshape(-1, channels, down, factor, across, factor)
    return tiles.permute(0, 1, 3, 5, 2, 4).reshape(*before, channels * factor**2, down, across)


@rule("transpose.int", coreml=_WHY)
def transpose(x: Tensor, dim0: int, dim1: int) -> Any:
    """As for `permute`."""
    order = list(range(x.dim()))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permute(x, order)


@rule("expand.default", coreml=_WHY)
def expand(x: Tensor, size: Sequence[int], **_hints: Any) -> Any:
    """Join neighbours that are both repeated, or both not."""
    if len(size) <= MOST_AXES:
        return NotImplemented
    shape = [1] * (len(size) - x.dim()) + list(x.shape)
    wanted = [old if new == -1 else new for old, new in zip(shape, size, strict=True)]
    spans = _spans([wanted], [shape])
    if len(spans) > MOST_AXES:
        return NotImplemented
    return x.reshape(_joined(shape, spans)).expand(_joined(wanted, spans)).reshape(wanted)


@rule(*(n if "." in n else f"{n}.Tensor" for n in _POINTWISE), shared=True, coreml=_WHY)
def pointwise(operator: Any, *operands: Any, **options: Any) -> Any:
    """Join neighbours along which every operand is broadcast, or none is."""
    tensors = [each for each in operands if isinstance(each, Tensor)]
    result = _broadcast(*(each.shape for each in tensors))
    if len(result) <= MOST_AXES:
        return NotImplemented
    shapes = [[1] * (len(result) - each.dim()) + list(each.shape) for each in tensors]
    spans = _spans([result] * len(shapes), shapes)
    if len(spans) > MOST_AXES:
        return NotImplemented
    smaller = iter([t.reshape(_joined(s, spans)) for t, s in zip(tensors, shapes, strict=True)])
    given = [next(smaller) if isinstance(each, Tensor) else each for each in operands]
    return operator(*given, **options).reshape(result)


@rule(
    *("sum.default", "mean.default", "max.default", "min.default", "prod.default"),
    *("any.default", "all.default"),
    shared=True,
    coreml=_WHY,
)
def whole(operator: Any, x: Tensor, **options: Any) -> Any:
    """Join all axes."""
    return operator(x.reshape(-1), **options) if x.dim() > MOST_AXES else NotImplemented


@rule(
    *("sum.dim_IntList", "mean.dim", "amax.default", "amin.default"),
    *("max.dim", "min.dim", "argmax.default", "argmin.default"),
    shared=True,
    coreml=_WHY,
)
def reduction(operator: Any, x: Tensor, dim: Any = (), keepdim: Any = False, **options: Any) -> Any:
    """Join neighbours that are both reduced, or both kept."""
    if x.dim() <= MOST_AXES or dim is None:
        return NotImplemented
    is_one = isinstance(dim, int)
    dim = dim or list(range(x.dim())) if not is_one else dim
    dims = {each % x.dim() for each in ([dim] if is_one else dim)}
    spans = _runs_of([i in dims for i in range(x.dim())])
    if len(spans) > MOST_AXES:
        return NotImplemented
    inner = [place for place, span in enumerate(spans) if span[0] in dims]
    small = x.reshape(_joined(x.shape, spans))
    found = operator(small, inner[0] if is_one else inner, False, **options)
    sizes = [(1, True) if i in dims else (size, False) for i, size in enumerate(x.shape)]
    shape = [size for size, gone in sizes if keepdim or not gone]
    if isinstance(found, Tensor):
        return found.reshape(shape)
    return tuple(each.reshape(shape) for each in found)


def along(x: Tensor, dim: int, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Work along one axis with all before it joined, and all behind it."""
    dim %= x.dim()
    before, behind = x.shape[:dim], x.shape[dim + 1 :]
    found = function(x.reshape(math.prod(before), x.shape[dim], math.prod(behind)))
    return found.reshape(*before, *found.shape[1:-1], *behind)


@rule("slice.Tensor", coreml=_WHY)
def slice_(x: Tensor, dim: int = 0, *bounds: Any) -> Any:
    """Join all axes before the one at hand, and all behind it."""
    if x.dim() <= MOST_AXES:
        return NotImplemented
    return along(x, dim, lambda each: _ATEN.slice.Tensor(each, 1, *bounds))


@rule("select.int", coreml=_WHY)
def select(x: Tensor, dim: int, index: int) -> Any:
    """Join all axes before the one at hand, and all behind it."""
    if x.dim() <= MOST_AXES:
        return NotImplemented
    return along(x, dim, lambda each: each.select(1, index))


@rule("index_select.default", coreml=_WHY)
def index_select(x: Tensor, dim: int, index: Tensor) -> Any:
    """Join all axes before the one at hand, and all behind it."""
    if x.dim() <= MOST_AXES:
        return NotImplemented
    return along(x, dim, lambda each: each.index_select(1, index))


@rule("flip.default", coreml=_WHY)
def flip(x: Tensor, dims: Sequence[int]) -> Any:
    """Turn one axis after another."""
    if x.dim() <= MOST_AXES:
        return NotImplemented
    for dim in dims:
        x = along(x, dim, lambda each: each.flip([1]))
    return x


@rule("softmax.int", "_softmax.default", coreml=_WHY)
def softmax(x: Tensor, dim: int, *_options: Any) -> Any:
    """Join all axes before the one at hand, and all behind it."""
    if x.dim() <= MOST_AXES:
        return NotImplemented
    return along(x, dim, lambda each: each.softmax(1))


@rule("cat.default", coreml=_WHY)
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    """Join all axes before the one at hand, and all behind it."""
    first = tensors[0]
    if first.dim() <= MOST_AXES:
        return NotImplemented
    dim %= first.dim()
    before, behind = first.shape[:dim], first.shape[dim + 1 :]
    flat = [t.reshape(math.prod(before), t.shape[dim], math.prod(behind)) for t in tensors]
    return torch.cat(flat, 1).reshape(*before, -1, *behind)


@rule("stack.default", coreml=_WHY)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    """Put them one after the other; the new axis is a reshape."""
    shape = list(tensors[0].shape)
    if len(shape) < MOST_AXES:
        return NotImplemented
    dim %= len(shape) + 1
    before, behind = shape[:dim], shape[dim:]
    flat = [t.reshape(math.prod(before), 1, math.prod(behind)) for t in tensors]
    return torch.cat(flat, 1).reshape(*before, len(tensors), *behind)


@rule("unsqueeze.default", coreml=_WHY)
def unsqueeze(x: Tensor, dim: int) -> Any:
    """It is a reshape."""
    if x.dim() < MOST_AXES:
        return NotImplemented
    dim %= x.dim() + 1
    return x.reshape(*x.shape[:dim], 1, *x.shape[dim:])


@rule("squeeze.dim", "squeeze.dims", coreml=_WHY)
def squeeze(x: Tensor, dims: Any) -> Any:
    """It is a reshape."""
    if x.dim() <= MOST_AXES:
        return NotImplemented
    gone = {dim % x.dim() for dim in ([dims] if isinstance(dims, int) else dims)}
    return x.reshape([n for i, n in enumerate(x.shape) if i not in gone or n != 1])


@rule("matmul.default", coreml=_WHY)
def matmul(x: Tensor, y: Tensor) -> Any:
    """Join the axes of the batch, where both have the same."""
    if max(x.dim(), y.dim()) <= MOST_AXES:
        return NotImplemented
    batch = _broadcast(x.shape[:-2], y.shape[:-2])
    if x.dim() > 2:
        x = x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:])
    if y.dim() > 2:
        y = y.expand(*batch, *y.shape[-2:]).reshape(-1, *y.shape[-2:])
    return torch.matmul(x, y).reshape(*batch, x.shape[-2], y.shape[-1])


# -- Axes ------------------------------------------------------------------------------------------


def _broadcast(*shapes: Sequence[int]) -> list[int]:
    return list(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def _runs(order: Sequence[int], shape: Sequence[int]) -> list[list[int]]:
    """Return the old axes in their new order, neighbours that stay neighbours in one list.

    Axes of size 1 go wherever they do no harm.
    """
    groups: list[list[int]] = []
    for dim in order:
        if shape[dim] == 1:
            continue
        skipped = range(groups[-1][-1] + 1, dim) if groups else ()
        follows = bool(groups) and dim > groups[-1][-1] and all(shape[i] == 1 for i in skipped)
        if follows:
            groups[-1].append(dim)
        else:
            groups.append([dim])
    return groups or [[0]]


def _brought_forward(x: Tensor, moved: int, place: int) -> Tensor:
    """Move one axis before another; four axes at most are told apart."""
    shape = list(x.shape)
    sizes = [shape[:place], shape[place:moved], shape[moved : moved + 1], shape[moved + 1 :]]
    joined = x.reshape([math.prod(each) for each in sizes]).permute(0, 2, 1, 3)
    return joined.reshape([*sizes[0], *sizes[2], *sizes[1], *sizes[3]])


def _spans(results: list[list[int]], shapes: list[list[int]]) -> list[list[int]]:
    """Return neighbouring axes that are broadcast alike in every shape."""
    kinds = [
        tuple(r[i] != s[i] for r, s in zip(results, shapes, strict=True))
        for i in range(len(results[0]))
    ]
    # an axis of size 1 in the result is like any neighbour
    for i in range(1, len(kinds)):
        if results[0][i] == 1:
            kinds[i] = kinds[i - 1]
    return _runs_of(kinds)


def _runs_of(kinds: Sequence[Any]) -> list[list[int]]:
    """Return the places of equal neighbours together."""
    spans: list[list[int]] = []
    for place, kind in enumerate(kinds):
        if spans and kinds[place - 1] == kind:
            spans[-1].append(place)
        else:
            spans.append([place])
    return spans


def _joined(shape: Sequence[int], spans: Sequence[Sequence[int]]) -> list[int]:
    return [math.prod(shape[place] for place in span) for span in spans]
