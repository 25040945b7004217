"""Normalizations, with and without learned scales."""

from torch import nn
from torch.nn import functional

from tests.conformance.operators.values import normal, positive

LINE, IMAGE = normal(2, 4, 6), normal(2, 4, 5, 6)

CASES = {
    "batch_norm, rank 2": (nn.BatchNorm1d(4), normal(3, 4)),
    "batch_norm, rank 3": (nn.BatchNorm1d(4), LINE),
    "batch_norm, rank 4": (nn.BatchNorm2d(4, eps=0.1), IMAGE),
    "batch_norm, rank 5": (nn.BatchNorm3d(4), normal(1, 4, 2, 3, 3)),
    "batch_norm, without scale": (nn.BatchNorm2d(4, affine=False), IMAGE),
    "batch_norm, of the batch itself": (nn.BatchNorm2d(4, track_running_stats=False), IMAGE),
    "layer_norm": (nn.LayerNorm(6), LINE),
    "layer_norm, two axes": (nn.LayerNorm([5, 6]), IMAGE),
    "layer_norm, eps": (nn.LayerNorm(6, eps=0.5), LINE),
    "layer_norm, without scale": (nn.LayerNorm(6, elementwise_affine=False), LINE),
    "layer_norm, without bias": (nn.LayerNorm(6, bias=False), LINE),
    "layer_norm, rank 1": (nn.LayerNorm(8), normal(8)),
    "layer_norm, of channels": (
        lambda x: functional.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2),
        IMAGE,
    ),
    "rms_norm": (nn.RMSNorm(6), LINE),
    "rms_norm, eps": (nn.RMSNorm(6, eps=0.3), LINE),
    "rms_norm, two axes": (lambda x: functional.rms_norm(x, (4, 6)), LINE),
    "group_norm": (nn.GroupNorm(2, 4), IMAGE),
    "group_norm, one group": (nn.GroupNorm(1, 4), IMAGE),
    "group_norm, group per channel": (nn.GroupNorm(4, 4, eps=0.2), LINE),
    "group_norm, without scale": (nn.GroupNorm(2, 4, affine=False), IMAGE),
    "group_norm, rank 2": (nn.GroupNorm(2, 4), normal(3, 4)),
    "instance_norm": (nn.InstanceNorm2d(4), IMAGE),
    "instance_norm, with scale": (nn.InstanceNorm2d(4, affine=True), IMAGE),
    "instance_norm, rank 3": (nn.InstanceNorm1d(4), LINE),
    "instance_norm, tracked": (nn.InstanceNorm2d(4, track_running_stats=True), IMAGE),
    "local_response_norm": (nn.LocalResponseNorm(3, alpha=0.1), IMAGE),
    "unit vectors, by hand": (lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1e-6), LINE),
    "standardized, by hand": (
        lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt(),
        LINE,
    ),
    "min-max, by hand": (
        lambda x: (x - x.amin((1, 2), True)) / (x.amax((1, 2), True) - x.amin((1, 2), True)),
        positive(2, 4, 6),
    ),
}
