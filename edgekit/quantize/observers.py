"""How values are quantized: element type, scheme, and the observer that finds the range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import QuantizationSpec

if TYPE_CHECKING:
    from edgekit.recipe import Recipe

# The smallest scale: a range of nothing, as of a constant zero, must not divide by zero.
_SMALLEST = 2.0**-24


def activation_spec(_recipe: Recipe) -> QuantizationSpec:
    """One scale and zero point for a whole tensor, over the range that calibration saw."""
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=_SMALLEST),
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
