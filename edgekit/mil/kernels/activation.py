"""Activations; from iOS17 their parameters may have another type than x."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.errors import ArtifactError
from edgekit.mil.kernels import kernel, scalar


@kernel("clamped_relu")
def clamped_relu(*, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """`min(beta, x)` where x >= 0, else `min(beta, alpha * x)`."""
    return torch.where(x >= 0, x, x * alpha).clamp(max=scalar(beta))


@kernel("elu")
def elu(*, x: Tensor, alpha: Tensor) -> Tensor:
    """`x` where x > 0, else `alpha * (e ** x - 1)`."""
    return functional.elu(x, alpha=scalar(alpha))


@kernel("gelu")
def gelu(*, x: Tensor, mode: str = "EXACT") -> Tensor:
    """`x * Phi(x)`, exactly or by one of two approximations."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise ArtifactError(f"gelu has no mode {mode!r}")
    return functional.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


@kernel("leaky_relu")
def leaky_relu(*, x: Tensor, alpha: Tensor) -> Tensor:
    """`x` where x >= 0, else `alpha * x`."""
    return functional.leaky_relu(x, scalar(alpha))


@kernel("linear_activation")
def linear_activation(*, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """`alpha * x + beta`."""
    return x * alpha + beta


@kernel("prelu")
def prelu(*, x: Tensor, alpha: Tensor) -> Tensor:
    """`x` where x > 0, else `alpha[channel] * x`."""
    return torch.where(x > 0, x, x * _by_channel(alpha, x))


@kernel("relu")
def relu(*, x: Tensor) -> Tensor:
    """`max(x, 0)`."""
    return x.relu()


@kernel("relu6")
def relu6(*, x: Tensor) -> Tensor:
    """`min(max(x, 0), 6)`."""
    return x.clamp(0, 6)


@kernel("scaled_tanh")
def scaled_tanh(*, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """`alpha * tanh(beta * x)`."""
    return alpha * torch.tanh(beta * x)


@kernel("sigmoid")
def sigmoid(*, x: Tensor) -> Tensor:
    """`1 / (1 + e ** -x)`."""
    return x.sigmoid()


@kernel("sigmoid_hard")
def sigmoid_hard(*, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """`min(max(alpha * x + beta, 0), 1)`."""
    return (x * alpha + beta).clamp(0, 1)


@kernel("silu")
def silu(*, x: Tensor) -> Tensor:
    """`x * sigmoid(x)`."""
    return functional.silu(x)


@kernel("softplus")
def softplus(*, x: Tensor) -> Tensor:
    """`ln(1 + e ** x)`."""
    return torch.log1p(torch.exp(-x.abs())) + x.relu()


@kernel("softplus_parametric")
def softplus_parametric(*, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """`alpha[channel] * ln(1 + e ** (beta[channel] * x))`."""
    return _by_channel(alpha, x) * softplus(x=x * _by_channel(beta, x))


@kernel("softmax")
def softmax(*, x: Tensor, axis: Tensor | None = None) -> Tensor:
    """`e ** x` over its sum along axis (the last when not given)."""
    return x.softmax(-1 if axis is None else scalar(axis))


@kernel("softsign")
def softsign(*, x: Tensor) -> Tensor:
    """`x / (1 + |x|)`."""
    return x / (1 + x.abs())


@kernel("thresholded_relu")
def thresholded_relu(*, x: Tensor, alpha: Tensor) -> Tensor:
    """`x` where x >= alpha, else 0."""
    return torch.where(x >= alpha, x, 0)


def _by_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """Shape one number per channel so that it broadcasts along axis 1 of x."""
    return parameter.reshape(-1, *[1] * (x.dim() - 2))
