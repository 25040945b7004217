"""Operators that hold a weight in fewer bits; each gives the float weight back.

They stand in a quantized graph where weights alone are quantized, and tell a format all that there
is to tell.  ``quantized_decomposed`` has no blocks, no tables and no zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.library.custom_op("edgekit::integer_weight", mutates_args=())
def integer_weight(data: Tensor, scale: Tensor, bits: int, dynamic: bool) -> Tensor:
    """Return ``data * scale``, each scale serving one block of data.

    Args:
        data: int8, within the range of `bits`.
        scale: float32, of the same rank; each size divides that of data.
        bits: 8 or 4.
        dynamic: Whether the layer that reads it computes with integers, in ranges found while the
            model runs.  In the graph itself it computes in float.
    """
    del bits, dynamic
    for axis, (size, blocks) in enumerate(zip(data.shape, scale.shape, strict=True)):
        if blocks not in (1, size):
            scale = scale.repeat_interleave(size // blocks, axis)
    return data.to(scale.dtype) * scale


@integer_weight.register_fake
def _(data: Tensor, scale: Tensor, bits: int, dynamic: bool) -> Tensor:
    del bits, dynamic
    return torch.empty_like(data, dtype=scale.dtype)


@torch.library.custom_op("edgekit::table_weight", mutates_args=())
def table_weight(indices: Tensor, table: Tensor, bits: int) -> Tensor:
    """Return the values of a table at uint8 indices of so many bits."""
    del bits
    return table[indices.long()]


@table_weight.register_fake
def _(indices: Tensor, table: Tensor, bits: int) -> Tensor:
    del bits
    return torch.empty_like(indices, dtype=table.dtype)


@torch.library.custom_op("edgekit::sparse_weight", mutates_args=())
def sparse_weight(values: Tensor) -> Tensor:
    """Return the values themselves: many are zero, and a format may store the others alone."""
    return values.clone()


@sparse_weight.register_fake
def _(values: Tensor) -> Tensor:
    return torch.empty_like(values)
