"""Pooling over 1 to 3 spatial axes; pad_type same_lower came with iOS16."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.mil.kernels import ints, kernel, scalar
from edgekit.mil.kernels._windows import Pads, allow_padding, flat, numbers, padding

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@kernel("avg_pool")
def avg_pool(
    *,
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    exclude_padding_from_average: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    """Mean of each window; padding counts unless excluded, what ceil_mode adds never does."""
    windows = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    average = _AVERAGE[x.dim() - 2](windows.padded(x, 0.0), windows.kernel, windows.strides)
    exclude = exclude_padding_from_average is not None and bool(
        scalar(exclude_padding_from_average)
    )
    if not exclude and not any(windows.overhangs):
        return average
    return average * (math.prod(windows.kernel) / windows.counts(padding_counts=not exclude))


@kernel("l2_pool")
def l2_pool(
    *,
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    """Square root of the sum of squares of each window."""
    windows = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    squares = windows.padded(x * x, 0.0)
    mean = _AVERAGE[x.dim() - 2](squares, windows.kernel, windows.strides)
    return torch.sqrt(mean * math.prod(windows.kernel))


@kernel("max_pool")
def max_pool(
    *,
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    """Largest element of each window; padding never is."""
    windows = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    return _MAX[x.dim() - 2](windows.padded(x, -math.inf), windows.kernel, windows.strides)


@dataclass(frozen=True)
class _Windows:
    """Where the windows of a pooling lie, per spatial axis."""

    sizes: list[int]
    kernel: list[int]
    strides: list[int]
    pads: Pads
    overhangs: list[int]

    def padded(self, x: Tensor, value: float) -> Tensor:
        """Return x with its padding, and with what the last windows overhang."""
        pads = [
            (before, after + over)
            for (before, after), over in zip(self.pads, self.overhangs, strict=True)
        ]
        return functional.pad(x, flat(pads), value=value) if any(flat(pads)) else x

    def counts(self, *, padding_counts: bool) -> Tensor:
        """Return how many elements each window's mean is over."""
        total = torch.ones(())
        for size, width, stride, (before, after), over in zip(
            self.sizes, self.kernel, self.strides, self.pads, self.overhangs, strict=True
        ):
            inside = torch.ones(size)
            edges = functional.pad(inside, (before, after), value=float(padding_counts))
            edges = functional.pad(edges, (0, over))
            total = total.unsqueeze(-1) * edges.unfold(0, width, stride).sum(1)
        return total


def _windows(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None,
    pad_type: str,
    pad: Tensor | None,
    ceil_mode: Tensor | None,
) -> _Windows:
    sizes, width = list(x.shape[2:]), ints(kernel_sizes)
    steps = numbers(strides, 1, len(sizes))
    pads = padding(pad_type, pad, sizes, width, steps)
    if ceil_mode is not None and bool(scalar(ceil_mode)):
        overhangs = [_overhang(*each) for each in zip(sizes, width, steps, pads, strict=True)]
    else:
        overhangs = [0] * len(sizes)
    reach = [(before, after + over) for (before, after), over in zip(pads, overhangs, strict=True)]
    allow_padding(x, reach)
    return _Windows(sizes, width, steps, pads, overhangs)


def _overhang(size: int, width: int, stride: int, pad: tuple[int, int]) -> int:
    """Return how far the last window of ceil_mode reaches over the padded input."""
    total = size + sum(pad)
    last = -(-(total - width) // stride)
    if last * stride >= size + sum(pad) / 2 and sum(pad) > 0:
        last -= 1
    return max(0, last * stride + width - total)
