"""Attention that converters compute in another way than PyTorch."""

from __future__ import annotations

from typing import Any

import torch
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
    """Let the queries of one head of keys be longer: no head is repeated."""
    if not enable_gqa or dropout:
        return NotImplemented
    *batch, heads, length, size = q.shape
    groups, keys = k.shape[-3:-1]
    times = heads // groups
    if is_causal:
        mask = torch.ones(length, keys, dtype=torch.bool).tril()
    if mask is not None:
        mask = _for_groups(mask, groups, times)
    found = functional.scaled_dot_product_attention(
        q.reshape(*batch, groups, times * length, size), k, v, mask, scale=scale
    )
    return found.reshape(*batch, heads, length, v.shape[-1])


def _for_groups(mask: Tensor, groups: int, times: int) -> Tensor:
    """Return a mask of heads and queries as one of groups and longer queries."""
    *lead, length, keys = mask.shape
    if lead and lead[-1] != 1:
        return mask.reshape(*lead[:-1], groups, times * length, keys)
    return torch.cat([mask] * times, -2)
