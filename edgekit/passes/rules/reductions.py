"""Reductions and bags that converters lack."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edgekit.passes.rules import rule

_SUM, _MEAN, _MAX = range(3)


@rule(
    "aminmax.default",
    coreml="two results of one operator",
    tflite="no lowering",
    onnx="no function",
)
def aminmax(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Find them apart."""
    dims = list(range(x.dim())) if dim is None else [dim]
    return x.amin(dims, keepdim), x.amax(dims, keepdim)


@rule(
    "_embedding_bag.default",
    "_embedding_bag_forward_only.default",
    coreml="no operation for it",
    tflite="no lowering for it",
    onnx="no function for it",
)
def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    _scale_by_frequency: bool = False,
    mode: int = _SUM,
    _sparse: bool = False,
    shares: Tensor | None = None,
    include_last_offset: bool = False,
    padding: int = -1,
) -> tuple[Tensor, None, None, None]:
    """Multiply the embeddings with a matrix that says which bag each belongs to.

    Of the operator's four results only the first is for inference.
    """
    members = _members(indices, offsets, include_last_offset)
    if padding >= 0:
        members = members & (indices != padding)
    rows = weight.index_select(0, indices)
    counts = members.to(weight.dtype)
    if mode == _MAX:
        masked = torch.where(members[:, :, None], rows, -math.inf).amax(1)
        found = torch.where(members.any(1, keepdim=True), masked, 0.0)
    else:
        found = (counts if shares is None else counts * shares) @ rows
        if mode == _MEAN:
            found = found / counts.sum(1, keepdim=True).clamp(min=1.0)
    return found, None, None, None


def _members(indices: Tensor, offsets: Tensor, include_last_offset: Any) -> Tensor:
    """Return whether an index (column) lies in a bag (row)."""
    places = torch.arange(indices.shape[0])
    if include_last_offset:
        starts, ends = offsets[:-1], offsets[1:]
    else:
        starts = offsets
        ends = torch.cat([offsets[1:], torch.full((1,), indices.shape[0], dtype=offsets.dtype)])
    return (starts[:, None] <= places) & (places < ends[:, None])
