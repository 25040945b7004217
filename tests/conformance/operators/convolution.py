"""Convolutions of one to three dimensions, and transposed ones."""

import torch
from torch import nn
from torch.nn import functional

from tests.conformance.operators.values import normal

LINE, IMAGE, VOLUME = normal(2, 4, 12), normal(1, 4, 9, 10), normal(1, 4, 5, 6, 7)

CASES = {
    "conv1d": (nn.Conv1d(4, 6, 3), LINE),
    "conv1d, stride, padding and dilation": (
        nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2),
        LINE,
    ),
    "conv1d, depthwise": (nn.Conv1d(4, 4, 5, padding=2, groups=4), LINE),
    "conv1d, same": (nn.Conv1d(4, 6, 4, padding="same"), LINE),
    "conv1d, pointwise": (nn.Conv1d(4, 6, 1, bias=False), LINE),
    "conv1d, unbatched": (nn.Conv1d(4, 6, 3), normal(4, 12)),
    "conv1d, of an input": (functional.conv1d, LINE, normal(6, 4, 3)),
    "conv1d, causal": (
        lambda x, w: functional.conv1d(functional.pad(x, (2, 0)), w),
        LINE,
        normal(6, 4, 3),
    ),
    "conv2d": (nn.Conv2d(4, 6, 3), IMAGE),
    "conv2d, without bias": (nn.Conv2d(4, 6, 3, bias=False), IMAGE),
    "conv2d, stride and padding": (nn.Conv2d(4, 6, 3, stride=2, padding=1), IMAGE),
    "conv2d, uneven kernel": (nn.Conv2d(4, 6, (1, 5), stride=(2, 1), padding=(0, 2)), IMAGE),
    "conv2d, dilation": (nn.Conv2d(4, 6, 3, dilation=2, padding=2), IMAGE),
    "conv2d, uneven dilation": (nn.Conv2d(4, 6, 3, dilation=(1, 3), padding=(1, 0)), IMAGE),
    "conv2d, groups": (nn.Conv2d(4, 6, 3, groups=2), IMAGE),
    "conv2d, depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), IMAGE),
    "conv2d, depthwise with a multiplier": (nn.Conv2d(4, 8, 3, groups=4), IMAGE),
    "conv2d, pointwise": (nn.Conv2d(4, 6, 1), IMAGE),
    "conv2d, even kernel": (nn.Conv2d(4, 6, 4, padding=2), IMAGE),
    "conv2d, same": (nn.Conv2d(4, 6, 4, padding="same"), IMAGE),
    "conv2d, reflected border": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), IMAGE),
    "conv2d, replicated border": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="replicate"), IMAGE),
    "conv2d, circular border": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), IMAGE),
    "conv2d, unbatched": (nn.Conv2d(4, 6, 3), normal(4, 9, 10)),
    "conv2d, batch of 3": (nn.Conv2d(4, 6, 3, stride=3), normal(3, 4, 9, 10)),
    "conv2d, of an input": (
        lambda x, w, b: functional.conv2d(x, w, b, padding=1),
        *(IMAGE, normal(6, 4, 3, 3), normal(6)),
    ),
    "conv2d, batch normalization and relu": (
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU()),
        IMAGE,
    ),
    "conv3d": (nn.Conv3d(4, 6, 3), VOLUME),
    "conv3d, all arguments": (
        nn.Conv3d(4, 6, (3, 2, 3), stride=(1, 2, 2), padding=(1, 0, 2), dilation=(1, 1, 2)),
        VOLUME,
    ),
    "conv3d, groups": (nn.Conv3d(4, 6, 3, padding=1, groups=2), VOLUME),
    "conv3d, depthwise": (nn.Conv3d(4, 4, 3, padding=1, groups=4), VOLUME),
    "conv3d, pointwise": (nn.Conv3d(4, 6, 1, bias=False), VOLUME),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 6, 3), LINE),
    "conv_transpose1d, stride and padding": (
        nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1),
        LINE,
    ),
    "conv_transpose1d, output padding": (
        nn.ConvTranspose1d(4, 6, 5, stride=3, padding=2, output_padding=1),
        LINE,
    ),
    "conv_transpose1d, groups": (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), LINE),
    "conv_transpose1d, dilation": (nn.ConvTranspose1d(4, 6, 3, dilation=2), LINE),
    "conv_transpose2d": (nn.ConvTranspose2d(4, 6, 3), IMAGE),
    "conv_transpose2d, doubling": (nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1), IMAGE),
    "conv_transpose2d, kernel 2": (nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), IMAGE),
    "conv_transpose2d, output padding": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        IMAGE,
    ),
    "conv_transpose2d, uneven": (
        nn.ConvTranspose2d(4, 6, (3, 2), stride=(1, 2), padding=(1, 0), output_padding=(0, 1)),
        IMAGE,
    ),
    "conv_transpose2d, groups": (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), IMAGE),
    "conv_transpose2d, depthwise": (
        nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1, groups=4),
        IMAGE,
    ),
    "conv_transpose2d, dilation": (nn.ConvTranspose2d(4, 6, 3, dilation=2, padding=1), IMAGE),
    "conv_transpose2d, batch normalization": (
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2), nn.BatchNorm2d(6)),
        IMAGE,
    ),
    "conv_transpose3d": (nn.ConvTranspose3d(4, 3, 3), VOLUME),
    "conv_transpose3d, all arguments": (
        nn.ConvTranspose3d(
            *(4, 3, (3, 2, 3)), stride=(1, 2, 2), padding=(1, 0, 1), output_padding=(0, 1, 0)
        ),
        VOLUME,
    ),
    "conv_transpose3d, groups": (nn.ConvTranspose3d(4, 6, 2, stride=2, groups=2), VOLUME),
    "weight_norm": (
        nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3)),
        LINE,
    ),
    "conv2d, float16": (
        functional.conv2d,
        *(normal(1, 4, 6, 6, dtype=torch.float16), normal(3, 4, 3, 3, dtype=torch.float16)),
    ),
}
