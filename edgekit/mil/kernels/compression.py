"""Kernels of coremltools' compression.py: block-wise and sparse compressed constants (iOS18).

iOS18's own forms of constexpr_lut_to_dense, constexpr_sparse_to_dense and constexpr_cast are in
`constexpr_ops`, beside the iOS16 operations whose names they bear.
"""

from __future__ import annotations

from torch import Tensor

from edgekit.mil.kernels import kernel, scalar
from edgekit.mil.kernels.constexpr_ops import look_up, spread


@kernel("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(
    *, data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> Tensor:
    """`scale * (data - offset)`, each scale and offset serving one block of data (iOS18)."""
    blocked, per_block = [], []
    for size, blocks in zip(data.shape, scale.shape, strict=True):
        blocked += [blocks, size // blocks]
        per_block += [blocks, 1]
    values = data.float().reshape(blocked)
    if offset is not None:
        values = values - offset.float().reshape(per_block)
    return (values * scale.float().reshape(per_block)).reshape(data.shape)


@kernel("constexpr_lut_to_sparse")
def constexpr_lut_to_sparse(
    *,
    indices_mask: Tensor,
    indices_nonzero_data: Tensor,
    lut: Tensor,
    vector_axis: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Look up the set elements only; returns the mask, widened by vectors, and values (iOS18)."""
    axis = None if vector_axis is None else scalar(vector_axis)
    dense = look_up(spread(indices_nonzero_data, indices_mask), lut, axis)
    mask = indices_mask
    if axis is not None:
        mask = mask.repeat_interleave(lut.shape[-1], dim=axis)
    return mask, dense[mask.bool()]


@kernel("constexpr_sparse_blockwise_shift_scale")
def constexpr_sparse_blockwise_shift_scale(
    *, data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Shift and scale the set elements only; returns the mask unchanged, and values (iOS18)."""
    dense = constexpr_blockwise_shift_scale(
        data=spread(nonzero_data, data_mask), scale=scale, offset=offset
    )
    return data_mask, dense[data_mask.bool()]
