"""What convolution and pooling share: how far a sliding window reaches over the input's edge."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from edgekit.errors import ArtifactError
from edgekit.mil.kernels import allow, ints

Pads = list[tuple[int, int]]


def numbers(tensor: Tensor | None, default: int, count: int) -> list[int]:
    """Return one number per spatial axis, the default for each when not given."""
    return [default] * count if tensor is None else ints(tensor)


def padding(
    pad_type: str,
    pad: Tensor | None,
    sizes: Sequence[int],
    reaches: Sequence[int],
    strides: Sequence[int],
) -> Pads:
    """Return (before, after) per spatial axis.

    Args:
        pad_type: ``valid``, ``custom``, ``same`` or ``same_lower`` (from iOS16), of which the last
            two give ceil(size / stride) outputs and put an odd element after, or before.
        pad: The padding of ``custom``, as before and after of each axis in turn.
        sizes: Input size per axis.
        reaches: Window size per axis, dilation included.
        strides: Stride per axis.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        given = numbers(pad, 0, 2 * len(sizes))
        return list(zip(given[::2], given[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise ArtifactError(f"there is no pad_type {pad_type!r}")
    pads: Pads = []
    for size, reach, stride in zip(sizes, reaches, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + reach - size)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if pad_type == "same" else (more, less))
    return pads


def allow_padding(x: Tensor, pads: Pads, weight: Tensor | None = None) -> None:
    """Refuse to pad the last axes of x beyond measure; `weight` is of a convolution to come."""
    sides = x.shape[x.dim() - len(pads) :]
    grown = math.prod(size + sum(pad) for size, pad in zip(sides, pads, strict=True))
    maps = math.prod(x.shape[: x.dim() - len(pads)])
    widening = 1.0 if weight is None else max(1.0, weight.shape[0] / x.shape[1])
    allow(grown * maps * widening, x.numel())


def flat(pads: Pads) -> list[int]:
    """Return pads in the order that `torch.nn.functional.pad` takes: last axis first."""
    return [side for pair in reversed(pads) for side in pair]


def is_even(pads: Pads) -> bool:
    """Whether each axis is padded as much before as after."""
    return all(before == after for before, after in pads)
