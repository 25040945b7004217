"""Pooling of one to three dimensions, fixed and adaptive."""

from torch import nn
from torch.nn import functional

from tests.conformance.operators.values import distinct, normal

LINE, IMAGE, VOLUME = distinct(2, 3, 13), distinct(1, 3, 9, 11), distinct(1, 2, 6, 7, 8)

CASES = {
    "max_pool1d": (nn.MaxPool1d(3), LINE),
    "max_pool1d, stride, padding and dilation": (nn.MaxPool1d(3, 2, 1, dilation=2), LINE),
    "max_pool1d, ceil_mode": (nn.MaxPool1d(4, 3, ceil_mode=True), LINE),
    "max_pool2d": (nn.MaxPool2d(2), IMAGE),
    "max_pool2d, stride and padding": (nn.MaxPool2d(3, 2, 1), IMAGE),
    "max_pool2d, uneven": (nn.MaxPool2d((3, 2), (2, 3), (1, 0)), IMAGE),
    "max_pool2d, dilation": (nn.MaxPool2d(3, 1, dilation=2), IMAGE),
    "max_pool2d, ceil_mode": (nn.MaxPool2d(2, ceil_mode=True), IMAGE),
    "max_pool2d, ceil_mode and padding": (
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        normal(1, 3, 8, 10),
    ),
    "max_pool2d, with indices": (nn.MaxPool2d(2, return_indices=True), IMAGE),
    "max_pool2d, unbatched": (nn.MaxPool2d(2), distinct(3, 8, 8)),
    "max_pool3d": (nn.MaxPool3d(2), VOLUME),
    "max_pool3d, stride and padding": (nn.MaxPool3d(3, (1, 2, 2), 1), VOLUME),
    "max_pool3d, ceil_mode": (nn.MaxPool3d(2, ceil_mode=True), VOLUME),
    "avg_pool1d": (nn.AvgPool1d(3), LINE),
    "avg_pool1d, padding": (nn.AvgPool1d(4, 2, 1), LINE),
    "avg_pool1d, padding not counted": (nn.AvgPool1d(4, 2, 1, count_include_pad=False), LINE),
    "avg_pool1d, ceil_mode": (nn.AvgPool1d(4, 3, ceil_mode=True), LINE),
    "avg_pool2d": (nn.AvgPool2d(2), IMAGE),
    "avg_pool2d, padding": (nn.AvgPool2d(3, 2, 1), IMAGE),
    "avg_pool2d, padding not counted": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "avg_pool2d, uneven": (nn.AvgPool2d((3, 2), (1, 2), (1, 0)), IMAGE),
    "avg_pool2d, ceil_mode": (nn.AvgPool2d(2, ceil_mode=True), IMAGE),
    "avg_pool2d, ceil_mode and padding": (
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        normal(1, 3, 8, 10),
    ),
    "avg_pool2d, ceil_mode and padding not counted": (
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        normal(1, 3, 8, 10),
    ),
    "avg_pool2d, divisor": (nn.AvgPool2d(3, divisor_override=5), IMAGE),
    "avg_pool3d": (nn.AvgPool3d(2), VOLUME),
    "avg_pool3d, padding not counted": (
        nn.AvgPool3d(3, (1, 2, 2), 1, count_include_pad=False),
        VOLUME,
    ),
    "lp_pool1d": (lambda x: functional.lp_pool1d(x, 2, 3), LINE),
    "lp_pool2d": (lambda x: functional.lp_pool2d(x.abs() + 1, 3.0, 2), IMAGE),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d(1), LINE),
    "adaptive_avg_pool1d, uneven": (nn.AdaptiveAvgPool1d(5), LINE),
    "adaptive_avg_pool2d, to one": (nn.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive_avg_pool2d, divisors": (nn.AdaptiveAvgPool2d((3, 11)), IMAGE),
    "adaptive_avg_pool2d, uneven": (nn.AdaptiveAvgPool2d((4, 5)), IMAGE),
    "adaptive_avg_pool2d, larger": (nn.AdaptiveAvgPool2d((12, 13)), IMAGE),
    "adaptive_avg_pool2d, one side kept": (nn.AdaptiveAvgPool2d((None, 1)), IMAGE),
    "adaptive_avg_pool3d": (nn.AdaptiveAvgPool3d(1), VOLUME),
    "adaptive_avg_pool3d, uneven": (nn.AdaptiveAvgPool3d((4, 3, 5)), VOLUME),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d(1), LINE),
    "adaptive_max_pool1d, uneven": (nn.AdaptiveMaxPool1d(5), LINE),
    "adaptive_max_pool2d, to one": (nn.AdaptiveMaxPool2d(1), IMAGE),
    "adaptive_max_pool2d, divisors": (nn.AdaptiveMaxPool2d((3, 1)), IMAGE),
    "adaptive_max_pool2d, uneven": (nn.AdaptiveMaxPool2d((4, 5)), IMAGE),
    "adaptive_max_pool3d, uneven": (nn.AdaptiveMaxPool3d((4, 3, 5)), VOLUME),
    "global mean and max": (lambda x: (x.mean((2, 3)), x.amax((2, 3))), IMAGE),
}
