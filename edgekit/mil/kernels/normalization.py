"""Normalizations; from iOS17 their parameters may have another type than x."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.mil.kernels import ints, kernel, scalar


@kernel("batch_norm")
def batch_norm(
    *,
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, per channel (axis 1)."""
    return functional.batch_norm(x, mean, variance, gamma, beta, eps=_number(epsilon, 1e-5))


@kernel("instance_norm")
def instance_norm(
    *,
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    """Each channel of each sample over its own spatial axes, then gamma and beta per channel."""
    spatial = tuple(range(2, x.dim()))
    variance, mean = torch.var_mean(x, spatial, correction=0, keepdim=True)
    out = (x - mean) / torch.sqrt(variance + _number(epsilon, 1e-5))
    per_channel = (-1, *[1] * len(spatial))
    out = out if gamma is None else out * gamma.reshape(per_channel)
    return out if beta is None else out + beta.reshape(per_channel)


@kernel("l2_norm")
def l2_norm(*, x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    """`x / sqrt(s + epsilon)`, s the sum of squares over the last three axes."""
    squares = (x * x).sum((-3, -2, -1), keepdim=True)
    return x / torch.sqrt(squares + _number(epsilon, 1e-6))


@kernel("layer_norm")
def layer_norm(
    *,
    x: Tensor,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    """Over the given axes (all when not given), then gamma and beta of those axes' shape."""
    chosen = sorted(axis % x.dim() for axis in (range(x.dim()) if axes is None else ints(axes)))
    last = list(range(x.dim() - len(chosen), x.dim()))
    moved = x.movedim(chosen, last)
    shape = moved.shape[last[0] :]
    out = functional.layer_norm(moved, shape, gamma, beta, _number(epsilon, 1e-5))
    return out.movedim(last, chosen)


@kernel("local_response_norm")
def local_response_norm(
    *,
    x: Tensor,
    size: Tensor,
    alpha: Tensor | None = None,
    beta: Tensor | None = None,
    k: Tensor | None = None,
) -> Tensor:
    """`x / (k + alpha / size * s) ** beta`, s the sum of squares of `size` neighbours in axis 1."""
    return functional.local_response_norm(
        x,
        int(scalar(size)),
        alpha=_number(alpha, 1e-4),
        beta=_number(beta, 0.75),
        k=_number(k, 1.0),
    )


def _number(tensor: Tensor | None, default: float) -> float:
    return default if tensor is None else float(scalar(tensor))
