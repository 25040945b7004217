"""Operators spelled as integer kernels know them, before anything is observed.

The function stays what it was; what changes is where a value can be quantized.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from edgekit import passes
from edgekit.passes.graph import calls, expand, name_of
from edgekit.quantize.precisions import precision_of

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from edgekit.recipe import Recipe


def prepare(exported: ExportedProgram, recipe: Recipe) -> None:
    """Rewrite in place what a recipe quantizes of a float program."""
    for node in calls(exported):
        rewrite = _REWRITES.get(name_of(node))
        if rewrite is not None and precision_of(node, recipe).is_static:
            expand(exported, node, rewrite)
    passes.run(exported, ("fold_constants",))
    exported.graph_module.recompile()


def _silu(x: torch.Tensor) -> torch.Tensor:
    """Both runtimes have sigmoid and product in integers, and neither has the two in one."""
    return x * x.sigmoid()


def _hardswish(x: torch.Tensor) -> torch.Tensor:
    """The gate is a sum of integers, see `edgekit.quantize.gates`; kernels for both are slow."""
    return x * F.hardsigmoid(x)


def _average_of_all(x: torch.Tensor, size: Any, *rest: Any) -> Any:
    """An average over the whole image: a pool keeps the scale of what it reads, a mean does not."""
    whole = list(size) == list(x.shape[-2:]) if len(size) > 1 else x.shape[-2:] == (size[0],) * 2
    padded = len(rest) > 1 and any(rest[1])
    return NotImplemented if padded or not whole else x.mean((-2, -1), keepdim=True)


def _slices(x: torch.Tensor, sizes: int | Sequence[int], axis: int = 0) -> Any:
    """The parts one by one: what has several results cannot be quantized."""
    whole = x.shape[axis]
    if not isinstance(whole, int):
        return NotImplemented
    if isinstance(sizes, int):
        sizes = [min(sizes, whole - start) for start in range(0, whole, sizes)]
    borders = itertools.pairwise([0, *itertools.accumulate(sizes)])
    return tuple(torch.ops.aten.slice.Tensor(x, axis, *border) for border in borders)


def _chunks(x: torch.Tensor, count: int, axis: int = 0) -> Any:
    whole = x.shape[axis]
    return _slices(x, -(-whole // count), axis) if isinstance(whole, int) else NotImplemented


def _small_strides(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Any:
    """A convolution whose steps are long: of pixels gathered into channels, with steps of one.

    NPUs step by three at most, and what is gathered is read once.
    """
    plain = groups == 1 and tuple(dilation) == (1, 1)
    fixed = all(isinstance(size, int) for size in x.shape[2:])
    if not (plain and fixed) or max(stride) <= _LONGEST_STEP:
        return NotImplemented
    x, weight = (value.permute(0, 2, 3, 1) for value in (x, weight))  # channels last
    for axis in (1, 2):
        step = stride[axis - 1]
        if step > _LONGEST_STEP:
            x, weight = _gathered(x, weight, axis, step, padding[axis - 1])
    left = [(1, 0) if s > _LONGEST_STEP else (s, p) for s, p in zip(stride, padding, strict=True)]
    steps, rest = zip(*left, strict=True)
    return F.conv2d(x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2), bias, steps, rest)


def _gathered(
    x: torch.Tensor, weight: torch.Tensor, axis: int, step: int, padding: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make channels of every `step` places along an axis, in an input and its kernel."""
    size, kernel = x.shape[axis], weight.shape[axis]
    places = (size + 2 * padding - kernel) // step + 1
    taps = -(-kernel // step)
    behind = (places + taps - 1) * step - size - padding
    return (
        _blocks(_padded(x, axis, padding, behind), axis, step),
        _blocks(_padded(weight, axis, 0, taps * step - kernel), axis, step),
    )


def _padded(x: torch.Tensor, axis: int, before: int, behind: int) -> torch.Tensor:
    """Pad one axis with zeros; cut it where `behind` is negative."""
    if behind < 0:
        x, behind = x.narrow(axis, 0, x.shape[axis] + behind), 0
    return F.pad(x, (0, 0) * (3 - axis) + (before, behind)) if before or behind else x


def _blocks(x: torch.Tensor, axis: int, step: int) -> torch.Tensor:
    """Make channels of blocks along an axis of (N, H, W, C): W can, which is next to C."""
    if axis == 1:
        return _blocks(x.transpose(1, 2), 2, step).transpose(1, 2)
    return torch.unflatten(x, 2, (x.shape[2] // step, step)).flatten(3)


_LONGEST_STEP = 3
_REWRITES: dict[str, Callable[..., Any]] = {
    "aten.silu.default": _silu,
    "aten.hardswish.default": _hardswish,
    "aten.avg_pool2d.default": _average_of_all,
    "aten.conv2d.default": _small_strides,
    "aten.split.Tensor": _slices,
    "aten.split_with_sizes.default": _slices,
    "aten.chunk.default": _chunks,
}
