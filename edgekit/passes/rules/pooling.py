"""Pooling that converters lack: adaptive pools whose windows differ in size, dilated maxima."""

from __future__ import annotations

import math
from functools import reduce
from itertools import product
from typing import Any

import torch
from torch import Tensor

from edgekit.passes.graph import computed_now
from edgekit.passes.rules import rule
from edgekit.passes.rules.windows import taps


@rule(
    "adaptive_avg_pool1d.default",
    "adaptive_avg_pool2d.default",
    "_adaptive_avg_pool2d.default",
    "adaptive_avg_pool3d.default",
    "_adaptive_avg_pool3d.default",
    coreml="only where all windows are of one size",
    tflite="only where all windows are of one size",
    onnx="only where all windows are of one size",
)
def adaptive_avg_pool(x: Tensor, output_size: list[int]) -> Any:
    """Multiply each axis with a matrix that holds every window's weights."""
    sizes = list(x.shape[-len(output_size) :])
    if _even(sizes, output_size):
        return NotImplemented
    for axis, (size, wanted) in enumerate(zip(sizes, output_size, strict=True)):
        dim = x.dim() - len(sizes) + axis
        with computed_now():
            weights = torch.zeros(size, wanted, dtype=x.dtype)
            for place, (start, end) in enumerate(_windows(size, wanted)):
                weights[start:end, place] = 1 / (end - start)
        x = (x.movedim(dim, -1) @ weights).movedim(-1, dim)
    return x


@rule(
    "adaptive_max_pool1d.default",
    "adaptive_max_pool2d.default",
    "adaptive_max_pool3d.default",
    coreml="only where all windows are of one size",
    tflite="no lowering for it",
    onnx="only where all windows are of one size",
)
def adaptive_max_pool(x: Tensor, output_size: list[int]) -> tuple[Tensor, Tensor]:
    """Gather every window, the shorter ones with their last element repeated; take the largest."""
    rank = len(output_size)
    sizes = list(x.shape[-rank:])
    with computed_now():
        table = _table(sizes, list(output_size))
    flat = x.reshape(*x.shape[:-rank], math.prod(sizes))
    windows = flat.index_select(-1, table.reshape(-1)).reshape(*flat.shape[:-1], *table.shape)
    values, places = windows.max(-1)
    with computed_now():
        first = torch.arange(table.shape[0]) * table.shape[1]
    indices = table.reshape(-1).index_select(0, (places + first).reshape(-1))
    shape = (*x.shape[:-rank], *output_size)
    return values.reshape(shape), indices.reshape(shape)


def _even(sizes: list[int], output_size: list[int]) -> bool:
    return all(size % wanted == 0 for size, wanted in zip(sizes, output_size, strict=True))


def _windows(size: int, wanted: int) -> list[tuple[int, int]]:
    """Return start and end of every window of an adaptive pool, as PyTorch defines them."""
    return [(i * size // wanted, -(-(i + 1) * size // wanted)) for i in range(wanted)]


def _table(sizes: list[int], output_size: list[int]) -> Tensor:
    """Return, for each window, the places of its elements in the axes laid out as one."""
    axes = []
    for size, wanted in zip(sizes, output_size, strict=True):
        windows = _windows(size, wanted)
        length = max(end - start for start, end in windows)
        axes.append([[min(start + k, end - 1) for k in range(length)] for start, end in windows])
    rows = []
    for window in product(*axes):
        places = [0]
        for size, members in zip(sizes, window, strict=True):
            places = [place * size + member for place in places for member in members]
        rows.append(places)
    return torch.tensor(rows)


_NO_BATCH = "needs a batch axis"


@rule(
    *(f"{kind}_pool{rank}d.default" for kind in ("max", "avg") for rank in (1, 2, 3)),
    *(f"max_pool{rank}d_with_indices.default" for rank in (2, 3)),
    shared=True,
    coreml=_NO_BATCH,
)
def unbatched(operator: Any, x: Tensor, kernel_size: list[int], *rest: Any) -> Any:
    """Pool a batch of one."""
    if x.dim() != len(kernel_size) + 1:
        return NotImplemented
    found = operator(x.unsqueeze(0), kernel_size, *rest)
    if isinstance(found, Tensor):
        return found.squeeze(0)
    return tuple(each.squeeze(0) for each in found)


@rule(
    "max_pool1d.default",
    "max_pool2d.default",
    "max_pool3d.default",
    coreml="no dilation",
    tflite="no dilation",
)
def max_pool(
    x: Tensor,
    kernel_size: list[int],
    stride: tuple[int, ...] = (),
    padding: tuple[int, ...] = (0,),
    dilation: tuple[int, ...] = (1,),
    ceil_mode: bool = False,
) -> Any:
    """Take the largest of what each of the kernel's elements sees."""
    rank = len(kernel_size)
    steps = _each(dilation, rank)
    if max(steps) == 1:
        return NotImplemented
    parts = taps(
        x,
        list(kernel_size),
        _each(stride or kernel_size, rank),
        _each(padding, rank),
        steps,
        -math.inf,
        ceil=ceil_mode,
    )
    return reduce(torch.maximum, parts)


@rule(
    "max_pool2d_with_indices.default",
    "max_pool3d_with_indices.default",
    tflite="other places than PyTorch's",
    coreml="does not say where the largest stands",
)
def max_pool_with_places(
    x: Tensor,
    kernel_size: list[int],
    stride: tuple[int, ...] = (),
    padding: tuple[int, ...] = (0,),
    dilation: tuple[int, ...] = (1,),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Ask which of the kernel's elements sees the largest, and what place it sees."""
    rank = len(kernel_size)
    sizes = list(x.shape[-rank:])
    how = (_each(kernel_size, rank), _each(stride or kernel_size, rank), _each(padding, rank))
    parts = torch.stack(taps(x, *how, _each(dilation, rank), -math.inf, ceil=ceil_mode), -1)
    with computed_now():
        places = torch.arange(float(math.prod(sizes))).reshape(1, 1, *sizes)
        seen = taps(places, *how, _each(dilation, rank), -1, ceil=ceil_mode)
        table = torch.stack(seen, -1).long()
        first = torch.arange(table[..., 0].numel()).reshape(table.shape[:-1]) * len(seen)
    values, best = parts.max(-1)
    chosen = table.reshape(-1).index_select(0, (first + best).reshape(-1))
    return values, chosen.reshape(values.shape)


@rule(
    "avg_pool2d.default",
    "avg_pool3d.default",
    coreml="no divisor",
    tflite="no divisor",
    onnx="no divisor",
)
def avg_pool(
    x: Tensor,
    kernel_size: list[int],
    stride: tuple[int, ...] = (),
    padding: tuple[int, ...] = (0,),
    ceil_mode: bool = False,
    _count_include_pad: bool = True,
    divisor: int | None = None,
) -> Any:
    """Undo the division by the kernel's size, then divide."""
    if divisor is None or ceil_mode:
        return NotImplemented
    rank = len(kernel_size)
    pool = getattr(torch.ops.aten, f"avg_pool{rank}d").default
    mean = pool(x, kernel_size, stride, padding, False, True)
    return mean * (math.prod(kernel_size) / divisor)


def _each(given: Any, rank: int) -> list[int]:
    values: list[int] = list(given)
    return values if len(values) == rank else values * rank
