"""Attention, without the guards that converters write around its softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgekit.passes.rules import rule

if TYPE_CHECKING:
    from torch import Tensor

_GUARDED = "written with a test for NaN around every softmax"


@rule("scaled_dot_product_attention.default", onnx=_GUARDED)
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Compute ``softmax(Q K^T * scale + mask) V``; a query that may see nothing gets zeros."""
    import torch

    if dropout_p:
        return NotImplemented
    if enable_gqa:
        key, value = _per_query(key, query), _per_query(value, query)
    factor = scale if scale is not None else 1 / math.sqrt(query.shape[-1])
    scores = torch.matmul(query * factor, key.transpose(-2, -1))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is None:
        return torch.matmul(torch.softmax(scores, -1), value)
    if attn_mask.dtype is not torch.bool:
        return torch.matmul(torch.softmax(scores + attn_mask, -1), value)
    result = torch.matmul(torch.softmax(scores + _added(attn_mask, scores), -1), value)
    return result if is_causal else result * attn_mask.any(-1, keepdim=True).to(result.dtype)


@rule(
    "scaled_dot_product_attention.default",
    coreml="a query that may see nothing does not get zeros",
)
def masked_by_truth_values(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *rest: Any,
    **options: Any,
) -> Any:
    """Add the mask to the scores and clear what blind queries saw; the rest stays one operation."""
    import torch

    if attn_mask is None or attn_mask.dtype is not torch.bool:
        return NotImplemented
    attend = torch.ops.aten.scaled_dot_product_attention.default
    result = attend(query, key, value, _added(attn_mask, query), *rest, **options)
    return result * attn_mask.any(-1, keepdim=True).to(result.dtype)


def _added(mask: Tensor, like: Tensor) -> Any:
    """Return the mask as a summand: 0 where a key may be seen, far below any score elsewhere."""
    import torch

    return torch.where(mask, 0.0, torch.finfo(like.dtype).min / 2).to(like.dtype)


def _per_query(heads: Tensor, query: Tensor) -> Any:
    """Repeat every head for each of the query heads that read it."""
    times = query.shape[-3] // heads.shape[-3]
    return heads if times == 1 else heads.repeat_interleave(times, -3)
