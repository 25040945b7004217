"""Kernels of coremltools' quantization_ops.py: affine quantization of activations (iOS17)."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.mil.kernels import kernel, scalar
from edgekit.mil.kernels.defaults import ZERO

_DTYPES = {"int8": torch.int8, "uint8": torch.uint8}


def along_axis(parameter: Tensor, data: Tensor, axis: Tensor) -> Tensor:
    """Return a scale or zero point in float32, shaped to broadcast along `axis` of `data`."""
    if parameter.dim() == 0:
        return parameter.float()
    shape = [1] * data.dim()
    shape[scalar(axis)] = parameter.numel()
    return parameter.float().reshape(shape)


@kernel("quantize")
def quantize(
    *,
    input: Tensor,  # noqa: A002 - MIL's name
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor = ZERO,
    axis: Tensor = ZERO,
) -> Tensor:
    """`clip(round_half_even(input / scale) + zero_point)` to the range of output_dtype (iOS17)."""
    dtype = _DTYPES[output_dtype]
    steps = (input / along_axis(scale, input, axis)).round()
    shifted = steps + along_axis(zero_point, input, axis)
    return shifted.clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max).to(dtype)


@kernel("dequantize")
def dequantize(
    *,
    input: Tensor,  # noqa: A002 - MIL's name
    scale: Tensor,
    zero_point: Tensor = ZERO,
    axis: Tensor = ZERO,
) -> Tensor:
    """`scale * (input - zero_point)`, per tensor or along `axis` (iOS17)."""
    return (input.float() - along_axis(zero_point, input, axis)) * along_axis(scale, input, axis)
