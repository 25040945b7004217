"""Attention that converters compute in another way than PyTorch."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from edgekit.passes.rules import rule


@rule("scaled_dot_product_attention.default", onnx="four axes only")
def few_axes(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *more: Any, **options: Any
) -> Any:
    """Give it the axes that it asks for, for the time of the operator."""
    if q.dim() >= 4 or (mask is not None and mask.dim() > 2):
        return NotImplemented
    missing = (None,) * (4 - q.dim())
    attend = functional.scaled_dot_product_attention
    found = attend(q[missing], k[missing], v[missing], mask, *more, **options)
    return found.reshape(*q.shape[:-1], v.shape[-1])


_GROUPS = "grouped queries are not understood, or come out wrong"


@rule("scaled_dot_product_attention.default", coreml=_GROUPS, tflite=_GROUPS)
def grouped_queries(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    is_causal: Any = False,
    *,
    scale: float | None = None,
    enable_gqa: Any = False,
) -> Any:
    """Repeat every head of the keys and values for each of its queries."""
    if not enable_gqa:
        return NotImplemented
    repeats = q.shape[-3] // k.shape[-3]
    k, v = (each.repeat_interleave(repeats, -3) for each in (k, v))
    return functional.scaled_dot_product_attention(
        q, k, v, mask, dropout, is_causal=bool(is_causal), scale=scale
    )
