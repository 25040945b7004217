"""Transformer operations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgekit.mil.kernels import kernel


@kernel("scaled_dot_product_attention")
def scaled_dot_product_attention(
    *, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """`softmax(query @ key.T / sqrt(E) + mask) @ value`; False in a bool mask masks out; iOS18."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ value
