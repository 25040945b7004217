"""Normalizations that converters compute from the wrong statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgekit.passes.rules import rule


@rule(
    "instance_norm.default", coreml="ignores stored statistics", tflite="ignores them", onnx="too"
)
def instance_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    use_input_stats: Any,
    momentum: float,
    eps: float,
    cudnn_enabled: Any,
) -> Any:
    """With stored statistics it is batch normalization."""
    if use_input_stats:
        return NotImplemented
    return torch.batch_norm(
        x,
        weight,
        bias,
        mean,
        variance,
        False,
        momentum,
        eps,
        cudnn_enabled,
    )
