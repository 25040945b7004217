"""How values are quantized: element type, scheme, and the observer that finds the range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchao.quantization.pt2e import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import FixedQParamsQuantizationSpec, QuantizationSpec

if TYPE_CHECKING:
    from edgekit.recipe import Recipe

# The smallest scale: a range of nothing, as of a constant zero, must not divide by zero.
_SMALLEST = 2.0**-24


_METHODS = {
    "min_max": MinMaxObserver,
    "moving_average": MovingAverageMinMaxObserver,
    "mse": HistogramObserver,
}


def activation_spec(recipe: Recipe) -> QuantizationSpec:
    """One scale and zero point for a whole tensor, over a range that calibration finds."""
    assert recipe.calibration is not None
    observer = _METHODS[recipe.calibration.method]
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=observer.with_args(eps=_SMALLEST),
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
    )


def fixed_spec(scale: float, zero_point: int) -> FixedQParamsQuantizationSpec:
    """A scale and a zero point that need no calibration."""
    return FixedQParamsQuantizationSpec(
        dtype=torch.int8,
        scale=scale,
        zero_point=zero_point,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
    )


def weight_spec(_recipe: Recipe, axis: int | None) -> QuantizationSpec:
    """One symmetric scale per channel of `axis`, or per tensor where there is no such axis."""
    kind = MinMaxObserver if axis is None else PerChannelMinMaxObserver
    scheme = torch.per_tensor_symmetric if axis is None else torch.per_channel_symmetric
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=kind.with_args(eps=_SMALLEST),
        quant_min=-127,  # -128 would have no positive counterpart
        quant_max=127,
        qscheme=scheme,
        ch_axis=axis,
    )
