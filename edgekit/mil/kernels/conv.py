"""Convolutions of 1 to 3 spatial axes; from iOS17 weight and bias may have another type than x."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from edgekit.mil.kernels import allow, ints, kernel, scalar
from edgekit.mil.kernels._windows import Pads, allow_padding, flat, is_even, numbers, padding

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSE = {
    1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d
}  # fmt: skip


@kernel("conv")
def conv(
    *,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """Convolution; pad_type same_lower came with iOS16, a bias that is no constant with iOS17."""
    count = x.dim() - 2
    stride, dilation = numbers(strides, 1, count), numbers(dilations, 1, count)
    reaches = _reaches(weight, dilation)
    pads = padding(pad_type, pad, x.shape[2:], reaches, stride)
    allow_padding(x, pads, weight)
    if not is_even(pads):
        x, pads = functional.pad(x, flat(pads)), [(0, 0)] * count
    sides = [before for before, _ in pads]
    return _CONV[count](x, weight, bias, stride, sides, dilation, _groups(groups))


@kernel("conv_transpose")
def conv_transpose(
    *,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Tensor | None = None,
    output_shape: Tensor | None = None,
    pad_type: str = "valid",
    strides: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """Transposed convolution, cropped (or, beyond its reach, zero-extended) to its output shape."""
    count = x.dim() - 2
    stride, dilation = numbers(strides, 1, count), numbers(dilations, 1, count)
    spread = [
        (size - 1) * step + reach
        for size, step, reach in zip(x.shape[2:], stride, _reaches(weight, dilation), strict=True)
    ]
    allow(x.shape[0] * weight.shape[1] * _groups(groups) * math.prod(spread), x.numel())
    full = _TRANSPOSE[count](x, weight, None, stride, 0, 0, _groups(groups), dilation)
    wanted = None if output_shape is None else ints(output_shape)[2:]
    if wanted is None and pad_type == "same":
        wanted = [size * step for size, step in zip(x.shape[2:], stride, strict=True)]
    crops = _crops(pad_type, pad, full.shape[2:], wanted)
    out = functional.pad(full, flat([(-before, -after) for before, after in crops]))
    return out if bias is None else out + bias.reshape(-1, *[1] * count)


def _crops(
    pad_type: str, pad: Tensor | None, sizes: tuple[int, ...], wanted: list[int] | None
) -> Pads:
    """Return how much of the full transposed convolution to drop (negative: to add) per side."""
    if pad_type == "same":
        assert wanted is not None
        return [
            (max(0, size - out) // 2, size - out - max(0, size - out) // 2)
            for size, out in zip(sizes, wanted, strict=True)
        ]
    pads = padding(pad_type, pad, sizes, sizes, [1] * len(sizes))
    if wanted is None:
        return pads
    return [
        (before, size - before - out)
        for (before, _), size, out in zip(pads, sizes, wanted, strict=True)
    ]


def _reaches(weight: Tensor, dilations: list[int]) -> list[int]:
    return [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]


def _groups(groups: Tensor | None) -> int:
    return 1 if groups is None else int(scalar(groups))
