"""What cases are fed with: functions that take a random generator and return a tensor.

Random values are drawn so that rounding does not decide a result: nothing lies on a step of
`floor`, nothing is equal to its neighbour where an order is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

Maker = Callable[[Generator], Tensor]


def normal(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Maker:
    """Normally distributed values around 0."""
    return lambda g: (torch.randn(shape, generator=g) * scale).to(dtype)


def uniform(low: float, high: float, *shape: int) -> Maker:
    """Evenly distributed values between two bounds."""
    return lambda g: torch.rand(shape, generator=g) * (high - low) + low


def positive(*shape: int) -> Maker:
    """Values between 0.1 and 3."""
    return uniform(0.1, 3.0, *shape)


def nonzero(*shape: int) -> Maker:
    """Values of either sign, at least 0.3 away from 0."""

    def make(g: Generator) -> Tensor:
        values = torch.rand(shape, generator=g) * 2 + 0.3
        return torch.where(torch.rand(shape, generator=g) < 0.5, -values, values)

    return make


def distinct(*shape: int) -> Maker:
    """Evenly spaced values in random order: no two are equal or near."""

    def make(g: Generator) -> Tensor:
        count = torch.Size(shape).numel()
        return (torch.randperm(count, generator=g).reshape(shape) - 0.37 * count) * 0.11

    return make


def integers(low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Maker:
    """Integers from `low` up to and without `high`."""
    return lambda g: torch.randint(low, high, shape, generator=g).to(dtype)


def flags(*shape: int) -> Maker:
    """True or False."""
    return lambda g: torch.rand(shape, generator=g) < 0.5


def order(count: int) -> Maker:
    """The numbers 0, 1, ... in random order."""
    return lambda g: torch.randperm(count, generator=g)
