"""Interpolation as products: each axis is resized by a constant matrix.

The matrix is what the operator itself makes of unit vectors, so that none of PyTorch's formulas has
to be written down again here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decompositions

from edgekit.passes.graph import computed_now
from edgekit.passes.rules import rule

_ATEN = torch.ops.aten
_SCALE = "takes the ratio of the sizes for the scale"
_BICUBIC = 2
_REFLECTION = 2


@rule(
    "_upsample_bilinear2d_aa.vec",
    coreml="no antialiasing",
    tflite="no antialiasing",
    onnx="no function for it",
)
def bilinear_antialiased(
    x: Tensor, size: list[int] | None, align: Any, factors: list[float] | None
) -> Tensor:
    """Resize by matrices."""
    return _resized(x, _ATEN._upsample_bilinear2d_aa.vec, size, align, factors)  # noqa: SLF001


@rule(
    "_upsample_bicubic2d_aa.vec",
    coreml="no antialiasing",
    tflite="no antialiasing",
    onnx="no function for it",
)
def bicubic_antialiased(
    x: Tensor, size: list[int] | None, align: Any, factors: list[float] | None
) -> Tensor:
    """Resize by matrices."""
    return _resized(x, _ATEN._upsample_bicubic2d_aa.vec, size, align, factors)  # noqa: SLF001


@rule("upsample_bilinear2d.vec", coreml=_SCALE, tflite=_SCALE)
def bilinear(x: Tensor, size: list[int] | None, align: Any, factors: list[float] | None) -> Any:
    """Resize by matrices where the scale is not the ratio of the sizes."""
    if align or _whole(x.shape[2:], factors):
        return NotImplemented
    return _resized(x, _ATEN.upsample_bilinear2d.vec, size, align, factors)


@rule("upsample_nearest2d.vec", coreml=_SCALE, tflite=_SCALE)
def nearest(x: Tensor, size: list[int] | None, factors: list[float] | None) -> Any:
    """Gather rows and columns where the scale is not the ratio of the sizes."""
    if size is not None or _whole(x.shape[2:], factors):
        return NotImplemented
    return _gathered(x, size, factors)


@rule("upsample_nearest2d.vec", tflite="rounds in another way, but for whole multiples")
def nearest_to_size(x: Tensor, size: list[int] | None, factors: list[float] | None) -> Any:
    """Gather rows and columns where the sizes are not whole multiples."""
    if size is None or all(a % b == 0 for a, b in zip(size, x.shape[2:], strict=True)):
        return NotImplemented
    return _gathered(x, size, factors)


def _gathered(x: Tensor, size: list[int] | None, factors: list[float] | None) -> Tensor:
    for axis in range(x.dim() - 2):
        with computed_now():
            places = torch.arange(x.shape[2 + axis], dtype=torch.float32)[None, None]
            chosen = _ATEN.upsample_nearest1d.vec(
                places,
                None if size is None else [size[axis]],
                None if factors is None else [factors[axis]],
            )
        x = x.index_select(2 + axis, chosen[0, 0].long())
    return x


def _whole(sizes: Sequence[int], factors: list[float] | None) -> bool:
    pairs = zip(sizes, factors or (), strict=False)
    return all(float(size * factor).is_integer() for size, factor in pairs)


def _resized(
    x: Tensor, operator: Any, size: list[int] | None, align: Any, factors: list[float] | None
) -> Tensor:
    with computed_now():
        rows, columns = (
            operator(
                torch.eye(x.shape[2 + axis], dtype=x.dtype)[None, None],
                None if size is None else [size[axis], x.shape[2 + axis]],
                align,
                None if factors is None else [factors[axis], 1.0],
            )[0, 0]
            for axis in (0, 1)
        )
        across = columns.T.contiguous()
    found: Tensor = rows @ (x @ across)
    return found


@rule("grid_sampler.default", coreml="no bicubic interpolation")
def grid_sampler(x: Tensor, grid: Tensor, mode: int, padding: int, align: Any) -> Any:
    """Let PyTorch write it as gathers."""
    if mode != _BICUBIC:
        return NotImplemented
    return decompositions.grid_sampler_2d(x, grid, mode, padding, align)


@rule("grid_sampler.default", tflite="reflects by comparing 8-bit integers, which it lacks")
def grid_sampler_that_reflects(x: Tensor, grid: Tensor, mode: int, padding: int, align: Any) -> Any:
    """Let PyTorch write it as gathers."""
    if padding != _REFLECTION or x.dim() != 4:
        return NotImplemented
    return decompositions.grid_sampler_2d(x, grid, mode, padding, align)


@rule("affine_grid_generator.default", coreml="loses its sizes")
def affine_grid(theta: Tensor, size: list[int], align: Any) -> Any:
    """Multiply the grid of the unit transform."""
    batch, _channels, *sizes = size
    rank = len(sizes)
    with computed_now():
        unit = torch.eye(rank, rank + 1, dtype=theta.dtype)[None]
        plain = _ATEN.affine_grid_generator.default(unit, [1, 1, *sizes], align)
        plain = plain.reshape(-1, rank)
        places = torch.cat([plain, torch.ones_like(plain[:, :1])], 1)
    return (places @ theta.transpose(1, 2)).reshape(batch, *sizes, rank)
