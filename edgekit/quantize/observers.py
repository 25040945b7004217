"""How values are quantized: element type, scheme, and the observer that finds the range."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchao.quantization.pt2e import (
    FakeQuantize,
    HistogramObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import (
    DerivedQuantizationSpec,
    FixedQParamsQuantizationSpec,
    QuantizationSpec,
)

if TYPE_CHECKING:
    from edgekit.recipe import Recipe

# The smallest scale: a range of nothing, as of a constant zero, must not divide by zero.
_SMALLEST = 2.0**-24
_LATEST = 0.01  # the share that the latest of many samples has in a moving average


class MovingAverageObserver(MovingAverageMinMaxObserver):  # type: ignore[misc]  # as below
    """Weighs all samples alike while they are few; else the first would be nearly all."""

    _seen = 0

    def forward(self, values: Tensor) -> Tensor:
        """Take one sample in."""
        self._seen += 1
        self.averaging_constant = max(_LATEST, 1 / self._seen)
        result: Tensor = super().forward(values)
        return result


class PercentileObserver(HistogramObserver):  # type: ignore[misc]  # torchao has no types
    """Leaves out the rarest values, as many of the smallest as of the largest."""

    percentile = 99.99

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        return _range_of_bins(self, *_bins_within(self.histogram, self.percentile))


class AutoObserver(HistogramObserver):  # type: ignore[misc]  # torchao has no types
    """Finds its range by the one of several methods that it is told; see `methods.ranges`."""

    METHODS = ("min_max", "percentile", "mse")
    PERCENTILE = 99.999
    _range: tuple[Tensor, Tensor] | None = None

    @property
    def cuts(self) -> bool:
        """Whether there were so many values that some are left out as the rarest."""
        return float(self.histogram.sum()) * (1 - self.PERCENTILE / 100) / 2 >= 1

    def settle(self, method: str) -> None:
        """Find the range of the values so far by a method, and keep to it."""
        if method == "percentile":
            self._range = _range_of_bins(self, *_bins_within(self.histogram, self.PERCENTILE))
        elif method == "mse":
            self._range = super()._non_linear_param_search()
        else:
            self._range = None  # all of it

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        return self._range or (self.min_val, self.max_val)


class EntropyObserver(HistogramObserver):  # type: ignore[misc]  # torchao has no types
    """Takes the range whose quantized values are distributed most like the values themselves.

    Of the ranges that reach equally far to both sides of zero, cut at the ends of the values, it
    takes the one with the smallest Kullback-Leibler divergence.
    """

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        count = len(self.histogram)
        edges = torch.linspace(float(self.min_val), float(self.max_val), count + 1)
        reach = float(edges.abs().max())
        best = (math.inf, 0, count)
        for share in torch.linspace(0.1, 1.0, 46).tolist():
            low = int((edges[1:] <= -share * reach).sum())
            high = count - int((edges[:-1] >= share * reach).sum())
            if high - low >= 2:
                best = min(best, (_divergence(self.histogram.double(), low, high), low, high))
        return _range_of_bins(self, *best[1:])


def _bins_within(histogram: Tensor, percentile: float) -> tuple[int, int]:
    """Return the bins that hold such a share of the values, from one and before the other."""
    counts = histogram.double().cumsum(0)
    cut = (1 - percentile / 100) / 2 * counts[-1]
    low = int((counts <= cut).sum())
    return low, int((counts < counts[-1] - cut).sum()) + 1


def _range_of_bins(observer: Any, low: int, high: int) -> tuple[Tensor, Tensor]:
    width = (observer.max_val - observer.min_val) / len(observer.histogram)
    return observer.min_val + low * width, observer.min_val + high * width


def _divergence(histogram: Tensor, low: int, high: int, levels: int = 256) -> float:
    """Return how much a histogram says that its quantized bins from `low` to `high` do not."""
    given = histogram[low:high].clone()
    seen = given > 0
    level = torch.arange(high - low) * levels // (high - low)
    sums = torch.zeros(levels, dtype=torch.double).index_add_(0, level, given)
    sizes = torch.zeros(levels, dtype=torch.double).index_add_(0, level, seen.double())
    told = torch.where(seen, (sums / sizes.clamp_min(1))[level], 0.0)
    given[0] += histogram[:low].sum()  # what is cut off ends up at the ends
    given[-1] += histogram[high:].sum()
    if not float(told.sum()):
        return math.inf
    p, q = given / given.sum(), told / told.sum()
    q = q.clamp_min(1e-12)
    return float(torch.where(p > 0, p * (p.clamp_min(1e-30) / q).log(), 0.0).sum())


_METHODS = {
    "auto": AutoObserver,
    "min_max": MinMaxObserver,
    "moving_average": MovingAverageObserver,
    "percentile": PercentileObserver,
    "entropy": EntropyObserver,
    "mse": HistogramObserver,
}
_INTEGERS = {  # smallest, largest, and where zero is: 16-bit kernels know it in the middle only
    "int8": (torch.int8, -128, 127, torch.per_tensor_affine),
    "int16": (torch.int16, -32767, 32767, torch.per_tensor_symmetric),
}


def activation_spec(
    recipe: Recipe, activations: str = "int8", *, training: bool = False
) -> QuantizationSpec:
    """One scale and zero point for a whole tensor, over a range that calibration finds."""
    assert recipe.calibration is not None
    observer = _METHODS[recipe.calibration.method]
    if issubclass(observer, PercentileObserver):
        chosen = {"percentile": recipe.calibration.percentile}
        observer = type("Percentile", (PercentileObserver,), chosen)
    dtype, lowest, highest, scheme = _INTEGERS[activations]
    return QuantizationSpec(
        dtype=dtype,
        observer_or_fake_quant_ctr=_maker(
            MovingAverageObserver if training else observer, training=training
        ),
        quant_min=lowest,
        quant_max=highest,
        qscheme=scheme,
    )


def fixed_spec(
    scale: float, zero_point: int, activations: str = "int8"
) -> FixedQParamsQuantizationSpec:
    """A scale and a zero point that need no calibration; 16 bits are symmetric about zero."""
    dtype, lowest, highest, scheme = _INTEGERS[activations]
    if activations == "int16":
        scale, zero_point = 2.0**-15, 0
    return FixedQParamsQuantizationSpec(
        dtype=dtype,
        scale=scale,
        zero_point=zero_point,
        quant_min=lowest,
        quant_max=highest,
        qscheme=scheme,
    )


def _maker(observer: Any, *, training: bool) -> Any:
    """Return what makes an observer; in training, one that rounds values as well."""
    if training:
        return FakeQuantize.with_args(observer=observer, eps=_SMALLEST)
    return observer.with_args(eps=_SMALLEST)


def weight_spec(_recipe: Recipe, axis: int | None, *, training: bool = False) -> QuantizationSpec:
    """One symmetric scale per channel of `axis`, or per tensor where there is no such axis."""
    kind = MinMaxObserver if axis is None else PerChannelMinMaxObserver
    scheme = torch.per_tensor_symmetric if axis is None else torch.per_channel_symmetric
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=_maker(kind, training=training),
        quant_min=-127,  # -128 would have no positive counterpart
        quant_max=127,
        qscheme=scheme,
        ch_axis=axis,
    )


def bias_spec(value: Any, weight: Any, axis: int | None) -> DerivedQuantizationSpec:
    """Quantize a bias as the integer accumulator has it: scale of input times scale of weight."""

    def derive(found: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        (input_scale, _), (weight_scale, _) = (each.calculate_qparams() for each in found)
        scale = input_scale * weight_scale
        return scale, torch.zeros_like(scale, dtype=torch.int32)

    per_channel = axis is not None
    return DerivedQuantizationSpec(
        derived_from=[value, weight],
        derive_qparams_fn=derive,
        dtype=torch.int32,
        quant_min=-(2**31) + 1,
        quant_max=2**31 - 1,
        qscheme=torch.per_channel_symmetric if per_channel else torch.per_tensor_symmetric,
        ch_axis=0 if per_channel else None,
    )
