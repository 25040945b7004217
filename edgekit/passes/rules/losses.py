"""Losses and likenesses whose converters want every argument given, or mix types."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.passes.rules import rule

_NONE, _MEAN, _SUM = range(3)


def reduced(x: Tensor, reduction: int) -> Tensor:
    """Reduce as PyTorch's number says."""
    return x if reduction == _NONE else x.mean() if reduction == _MEAN else x.sum()


@rule("mse_loss.default", coreml="wants every argument given")
def mse_loss(x: Tensor, y: Tensor, reduction: int = _MEAN) -> Tensor:
    """Write it as it is defined."""
    return reduced((x - y).square(), reduction)


@rule("cosine_similarity.default", coreml="wants every argument given")
def cosine_similarity(x: Tensor, y: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Write it as it is defined."""
    lengths = [each.square().sum(dim, keepdim=True).sqrt().clamp(min=eps) for each in (x, y)]
    return (x / lengths[0] * (y / lengths[1])).sum(dim)


@rule("cross_entropy_loss.default", onnx="ignores smoothing; takes no shares as the target")
def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: int = _MEAN,
    _ignore_index: int = -100,
    smoothing: float = 0.0,
) -> Any:
    """Weigh the logarithms of all classes with the shares that the target gives them."""
    shared = target.is_floating_point()
    if weight is not None or x.dim() < 2 or not (shared or smoothing):
        return NotImplemented
    classes = x.shape[1]
    if not shared:
        target = functional.one_hot(target, classes).movedim(-1, 1).to(x.dtype)
    shares = target * (1 - smoothing) + smoothing / classes
    return reduced(-(x.log_softmax(1) * shares).sum(1), reduction)


@rule("nll_loss_nd.default", "nll_loss.default", coreml="wants every argument given")
def nll_loss(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: int = _MEAN,
    ignore_index: int = -100,
) -> Any:
    """Pick each sample's class."""
    if x.dim() != 2:
        return NotImplemented
    kept = target != ignore_index
    classes = torch.where(kept, target, torch.zeros_like(target))
    shares = kept.to(x.dtype) if weight is None else weight[classes] * kept.to(x.dtype)
    found = -x.gather(1, classes.unsqueeze(1)).squeeze(1) * shares
    return found.sum() / shares.sum() if reduction == _MEAN else reduced(found, reduction)
