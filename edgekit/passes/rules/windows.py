"""Windows over an axis, and their inverse: unfold, fold, strided views, padding that wraps."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.passes.graph import computed_now
from edgekit.passes.rules import rule

_COPIES = 64  # of a tensor in one concatenation
_MANY = 16  # slices; with more of them one gather is smaller


@rule("unfold.default", coreml="no operation for it", tflite="only as a gather with constant ids")
def unfold(x: Tensor, dim: int, size: int, step: int) -> Any:
    """Cut the axis into blocks that windows are whole multiples of; join each window's blocks.

    With ``g = gcd(size, step)`` a window is ``size / g`` blocks and the next one begins
    ``step / g`` blocks later, so block k of every window is one strided slice.
    """
    if x.dim() == 0:
        return NotImplemented
    dim %= x.dim()
    block = math.gcd(size, step)
    count, pieces, stride = (x.shape[dim] - size) // step + 1, size // block, step // block
    x = x.movedim(dim, -1)
    if pieces > _MANY:
        with computed_now():
            table = torch.arange(count)[:, None] * step + torch.arange(size)
        windows = x.index_select(-1, table.reshape(-1))
        windows = windows.reshape(*x.shape[:-1], count, size)
    else:
        blocks = x[..., : (x.shape[-1] // block) * block].reshape(*x.shape[:-1], -1, block)
        reach = (count - 1) * stride + 1
        slices = [blocks[..., k : k + reach : stride, :] for k in range(pieces)]
        windows = torch.cat(slices, -1) if pieces > 1 else slices[0]
    return windows.movedim(-2, dim)


@rule("as_strided.default", coreml="no operation for it", tflite="no lowering for it")
def as_strided(x: Tensor, size: list[int], stride: list[int], offset: int | None = None) -> Any:
    """Gather by the places in memory that the strides say; only where memory is in order."""
    if not x.is_contiguous():
        return NotImplemented
    with computed_now():
        places = torch.tensor(offset or 0)
        for count, step in zip(size, stride, strict=True):
            places = places[..., None] + torch.arange(count) * step
    return x.reshape(-1).index_select(0, places.reshape(-1)).reshape(size)


@rule("col2im.default", coreml="its fold takes no overlapping windows", tflite="no lowering for it")
def fold(
    x: Tensor,
    output_size: list[int],
    kernel_size: list[int],
    dilation: list[int],
    padding: list[int],
    stride: list[int],
) -> Tensor:
    """Gather for each place what the windows hold of it, and a zero where one does not reach."""
    places, windows = math.prod(kernel_size), x.shape[-1]
    channels = x.shape[-2] // places
    with computed_now():
        columns = torch.arange(1, places * windows + 1.0).reshape(1, places, windows)
        sources = [
            torch.ops.aten.col2im.default(
                columns * (torch.arange(places) == place)[:, None],
                *(output_size, kernel_size, dilation, padding, stride),
            )
            for place in range(places)
        ]
        table = torch.stack(sources, -1).reshape(-1).long()
    flat = x.reshape(*x.shape[:-2], channels, places * windows)
    found = functional.pad(flat, [1, 0]).index_select(-1, table)
    return found.reshape(*x.shape[:-2], channels, *output_size, places).sum(-1)


@rule("pad.default", coreml="no circular padding, no negative widths", tflite="no circular padding")
def pad(x: Tensor, widths: list[int], mode: str = "constant", value: float | None = None) -> Any:
    """Wrap by joining the axis' own ends; cut where a width is negative."""
    if mode != "circular" and min(widths, default=0) >= 0:
        return NotImplemented
    for place, (low, high) in enumerate(zip(widths[::2], widths[1::2], strict=True)):
        x = _cut(x, -1 - place, max(0, -low), max(0, -high))
    kept = [max(0, width) for width in widths]
    if mode == "circular":
        for place, (low, high) in enumerate(zip(kept[::2], kept[1::2], strict=True)):
            x = _wrapped(x, x.dim() - 1 - place, low, high)
        return x
    return functional.pad(x, kept, mode, value) if any(kept) else x


@rule("constant_pad_nd.default", coreml="no negative widths")
def constant_pad(x: Tensor, widths: list[int], value: float = 0) -> Any:
    """As for `pad`."""
    return pad(x, widths, "constant", value)


def _cut(x: Tensor, dim: int, low: int, high: int) -> Tensor:
    return x.narrow(dim, low, x.shape[dim] - low - high) if low or high else x


def _wrapped(x: Tensor, dim: int, low: int, high: int) -> Tensor:
    parts = [x.narrow(dim, x.shape[dim] - low, low)] if low else []
    parts.append(x)
    if high:
        parts.append(x.narrow(dim, 0, high))
    return torch.cat(parts, dim) if len(parts) > 1 else x


@rule("roll.default", coreml="only over some arguments", tflite="only over some arguments")
def roll(x: Tensor, shifts: list[int], dims: tuple[int, ...] = ()) -> Tensor:
    """Swap the two parts of each axis."""
    if not dims:
        return roll(x.reshape(-1), shifts, (0,)).reshape(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[dim]
        split = -shift % size if size else 0
        if split:
            parts = (x.narrow(dim, split, size - split), x.narrow(dim, 0, split))
            x = torch.cat(parts, dim)
    return x


@rule("flip.default", tflite="only axes that stand together")
def flip(x: Tensor, dims: list[int]) -> Any:
    """Turn one axis after another."""
    if len(dims) < 2:
        return NotImplemented
    for dim in dims:
        x = x.flip(dim)
    return x


@rule(
    "diagonal.default",
    coreml="only the main one of the first two axes",
    tflite="by a comparison of places in 64 bits",
)
def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Gather the diagonal's places from the two axes laid out as one."""
    x = x.movedim((dim1, dim2), (-2, -1))
    rows, columns = x.shape[-2:]
    first, second = max(-offset, 0), max(offset, 0)
    count = max(0, min(rows - first, columns - second))
    with computed_now():
        places = (torch.arange(count) + first) * columns + torch.arange(count) + second
    return x.reshape(*x.shape[:-2], rows * columns).index_select(-1, places)


@rule("diagonal_scatter.default", coreml="no operation for it")
def diagonal_scatter(
    x: Tensor, source: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """Choose between the tensor and the diagonal, gathered to where it belongs."""
    last = x.movedim((dim1, dim2), (-2, -1))
    rows, columns = last.shape[-2:]
    with computed_now():
        away = torch.arange(columns) - torch.arange(rows)[:, None] - offset
        on = away == 0
        table = (on.reshape(-1).cumsum(0) - 1).clamp(min=0)  # rows hold one each, in order
    spread = source.index_select(-1, table).reshape(*source.shape[:-1], rows, columns)
    return torch.where(on, spread, last).movedim((-2, -1), (dim1, dim2))


@rule("expand.default", tflite="merged with transpositions behind it, by the wrong sizes")
def expand(x: Tensor, size: list[int], *, implicit: Any = False) -> Any:
    """Join copies where one axis grows."""
    del implicit
    if len(size) != x.dim() or not all(isinstance(each, int) for each in (*size, *x.shape)):
        return NotImplemented
    pairs = enumerate(zip(x.shape, size, strict=True))
    grown = [dim for dim, (old, new) in pairs if new not in (-1, old)]
    if len(grown) != 1 or size[grown[0]] > _COPIES:
        return NotImplemented
    return torch.cat([x] * size[grown[0]], grown[0])


def taps(
    x: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    fill: float,
    *,
    ceil: bool,
) -> list[Tensor]:
    """Return, for each element of a pooling kernel, what it sees: strided slices of one size."""
    rank = len(kernel)
    sizes = x.shape[-rank:]
    counts = [
        pooled_size(sizes[i], kernel[i], stride[i], padding[i], dilation[i], ceil=ceil)
        for i in range(rank)
    ]
    reach = [(counts[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 for i in range(rank)]
    widths = [w for i in reversed(range(rank)) for w in _margins(sizes[i], padding[i], reach[i])]
    if any(widths):
        x = functional.pad(x, widths, "constant", fill)
    found = []
    for place in product(*(range(k) for k in kernel)):
        part = x
        for i in range(rank):
            start = place[i] * dilation[i]
            end = start + (counts[i] - 1) * stride[i] + 1
            part = torch.ops.aten.slice.Tensor(part, x.dim() - rank + i, start, end, stride[i])
        found.append(part)
    return found


def _margins(size: int, padding: int, reach: int) -> tuple[int, int]:
    return padding, max(0, reach - size - padding)


def pooled_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil: bool
) -> int:
    """Return how many windows there are; with `ceil` one may begin inside and end outside."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = -(-room // stride) + 1 if ceil else room // stride + 1
    beyond = (count - 1) * stride >= size + padding
    return count - 1 if ceil and beyond else count
