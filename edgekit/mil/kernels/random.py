"""Kernels of coremltools' random.py.

A seed makes a run repeat itself; the numbers are those of PyTorch's generator, not of Core ML's,
so that only their distribution can be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.mil.kernels import allow, extent, kernel, scalar
from edgekit.mil.kernels.defaults import HALF, MINUS_ONE, ONE, ZERO


@kernel("random_bernoulli")
def random_bernoulli(*, shape: Tensor, prob: Tensor = HALF, seed: Tensor = MINUS_ONE) -> Tensor:
    """1 with probability prob, else 0."""
    return (_uniform(shape, seed) < prob).float()


@kernel("random_uniform")
def random_uniform(
    *, shape: Tensor, low: Tensor = ZERO, high: Tensor = ONE, seed: Tensor = MINUS_ONE
) -> Tensor:
    """Uniform over [low, high)."""
    return low + (high - low) * _uniform(shape, seed)


@kernel("random_normal")
def random_normal(
    *, shape: Tensor, mean: Tensor = ZERO, stddev: Tensor = ONE, seed: Tensor = MINUS_ONE
) -> Tensor:
    """Normal with the given mean and standard deviation."""
    return mean + stddev * torch.randn(extent(shape), generator=_generator(seed))


@kernel("random_categorical")
def random_categorical(
    *, x: Tensor, mode: str = "logits", size: Tensor = ONE, seed: Tensor = MINUS_ONE
) -> Tensor:
    """Draw `size` class indices, with replacement, per row of logits or probabilities."""
    weights = x.float().softmax(-1) if mode == "logits" else x.float()
    rows = weights.reshape(-1, x.shape[-1])
    allow(rows.shape[0] * scalar(size), rows.numel())
    drawn = rows.multinomial(scalar(size), replacement=True, generator=_generator(seed))
    return drawn.reshape(*x.shape[:-1], scalar(size)).float()


def _uniform(shape: Tensor, seed: Tensor) -> Tensor:
    return torch.rand(extent(shape), generator=_generator(seed))


def _generator(seed: Tensor) -> torch.Generator:
    generator = torch.Generator()
    if scalar(seed) < 0:
        generator.seed()
    else:
        generator.manual_seed(scalar(seed))
    return generator
