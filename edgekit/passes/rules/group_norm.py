"""Normalizations, written out where a format's own one is inexact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes.rules import rule

if TYPE_CHECKING:
    from torch import Tensor


@rule(
    "group_norm.default",
    onnx="becomes InstanceNormalization, whose sums in ONNX Runtime lose 30 dB over large groups",
)
def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Any:
    """Center, then divide by the root of the mean square: two sums, each over small numbers.

    A mean is one of channels' means, for a sum over millions of numbers loses digits, too.
    """
    del cudnn_enabled
    grouped = x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups, -1)
    centered = grouped - grouped.mean(-1, keepdim=True).mean(-2, keepdim=True)
    variance = (centered * centered).mean(-1, keepdim=True).mean(-2, keepdim=True)
    normal = (centered * (variance + eps).rsqrt()).reshape(x.shape)
    per_channel = (-1, *[1] * (x.dim() - 2))
    if weight is not None:
        normal = normal * weight.reshape(per_channel)
    return normal if bias is None else normal + bias.reshape(per_channel)
