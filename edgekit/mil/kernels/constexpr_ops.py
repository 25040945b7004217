"""Kernels of coremltools' constexpr_ops.py: compressed constants of iOS16, with their iOS18 forms.

iOS16 stores indices and masks as bytes beside a `shape`; iOS18 has sub-byte types instead, which
arrive unpacked.  Both forms bear one name, and the presence of `shape` tells them apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.mil.kernels import ints, kernel, scalar
from edgekit.mil.kernels.quantization_ops import dequantize


@kernel("constexpr_affine_dequantize")
def constexpr_affine_dequantize(
    *, quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor
) -> Tensor:
    """`scale * (quantized_data - zero_point)`, per tensor or along `axis` (iOS16)."""
    return dequantize(input=quantized_data, zero_point=zero_point, scale=scale, axis=axis)


@kernel("constexpr_cast")
def constexpr_cast(*, source_val: Tensor, output_dtype: str) -> Tensor:  # noqa: ARG001
    """fp16 to fp32; an attribute-only op in iOS16, with inputs in iOS18."""
    return source_val.float()


@kernel("constexpr_lut_to_dense")
def constexpr_lut_to_dense(
    *,
    indices: Tensor,
    lut: Tensor,
    shape: Tensor | None = None,
    vector_axis: Tensor | None = None,
) -> Tensor:
    """Look indices up: packed bytes and one table in iOS16; tables by block of vectors in iOS18."""
    if shape is None:
        return look_up(indices, lut, None if vector_axis is None else scalar(vector_axis))
    sizes = ints(shape)
    unpacked = unpack(indices, lut.numel().bit_length() - 1, math.prod(sizes))
    return lut.index_select(0, unpacked.int()).reshape(sizes)


@kernel("constexpr_sparse_to_dense")
def constexpr_sparse_to_dense(
    *, nonzero_data: Tensor, mask: Tensor, shape: Tensor | None = None
) -> Tensor:
    """Spread nonzero_data over the set bits of mask: packed bytes in iOS16, uint1 in iOS18."""
    if shape is not None:
        sizes = ints(shape)
        mask = unpack(mask, 1, math.prod(sizes)).reshape(sizes)
    return spread(nonzero_data, mask)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return `count` integers of `bits` bits each, packed from the least significant bit up."""
    if bits == 8:
        return packed[:count]
    padded = functional.pad(packed, (0, -len(packed) % bits))
    eight = torch.arange(8)  # integers fit a word of `bits` bytes
    words = (padded.reshape(-1, bits).long() << (8 * eight[:bits])).sum(1)
    fields = (words.unsqueeze(1) >> (bits * eight)) & ((1 << bits) - 1)
    return fields.flatten()[:count].to(torch.uint8)


def spread(nonzero_data: Tensor, mask: Tensor) -> Tensor:
    """Return zeros of mask's shape with nonzero_data, in row-major order, where mask is set."""
    return nonzero_data.new_zeros(mask.shape).masked_scatter(mask.bool(), nonzero_data)


def look_up(indices: Tensor, lut: Tensor, vector_axis: int | None) -> Tensor:
    """Replace each index by its vector in the table of its block (iOS18).

    Args:
        indices: Of any shape ``[d0, ..., dn]``.
        lut: ``[g0, ..., gn, palettes, vector]``; axis i of indices falls into ``gi`` equal blocks.
        vector_axis: Axis along which a vector's elements are laid out; None if they are scalars.

    Returns:
        Tensor of indices' shape, `vector` times as long on `vector_axis`.
    """
    *groups, palettes, vector = lut.shape
    table = torch.zeros((), dtype=torch.int32)
    for size, group in zip(indices.shape, groups, strict=True):
        block = torch.arange(size, dtype=torch.int32) // (size // group)
        table = table.unsqueeze(-1) * group + block
    rows = (table * palettes + indices.int()).flatten()
    dense = lut.reshape(-1, vector).index_select(0, rows).reshape(*indices.shape, vector)
    if vector_axis is None:
        return dense.squeeze(-1)
    axis = vector_axis % indices.dim()
    return dense.movedim(-1, axis + 1).flatten(axis, axis + 1)
