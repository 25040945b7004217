"""64-bit integers in formats of 32: what fits, what means "no bound", and what is refused."""

import pytest
import torch
from torch import nn

import edgekit
from edgekit.errors import LimitError
from edgekit.passes import narrow_integers

MOST = torch.iinfo(torch.int64).max


class Masked(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("bound", torch.tensor([5, value]))

    def forward(self, ids):
        return torch.minimum(ids, self.bound)


class Shifted(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, ids):
        return ids[:, : 2**62].clamp(max=self.value)


def narrowed(module):
    exported = edgekit.export(module, (torch.tensor([[1, 7]]),)).exported
    return narrow_integers.run(exported)


@pytest.mark.parametrize("kind", [Masked, Shifted])
def test_no_bound_stays_no_bound(kind):
    made = narrowed(kind(MOST))
    assert made.rewrites == 1
    (found,) = made.exported.module()(ids=torch.tensor([[1, 2**31 - 1]])).values()
    assert found.tolist() == [[1, 2**31 - 1]]


@pytest.mark.parametrize("kind", [Masked, Shifted])
def test_what_fits_is_left_alone(kind):
    assert narrowed(kind(-(2**31))).rewrites == 0


@pytest.mark.parametrize("kind", [Masked, Shifted])
@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**40])
def test_what_would_wrap_around_is_refused(kind, value):
    with pytest.raises(LimitError, match=rf"{value} does not fit .* called at .*narrow_integers"):
        narrowed(kind(value))
