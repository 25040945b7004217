"""The operator ``edgekit.scatter_sum``: zeros, and what is added to them at places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.library.custom_op("edgekit::scatter_sum", mutates_args=())
def scatter_sum(places: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    """Add values up by place.

    Args:
        places: Places on the leading axes, one per row of the last axis.
        values: What to add: the places' axes but the last, then the shape's remaining axes.
        shape: Of the result.
    """
    indices = tuple(places.long().unbind(-1))
    return values.new_zeros(list(shape)).index_put(indices, values, accumulate=True)


@scatter_sum.register_fake
def _(places: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    del places
    return values.new_empty(list(shape))
