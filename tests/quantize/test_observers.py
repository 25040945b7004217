"""How ranges are found, and what is said of odd ones."""

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.quantize import observers, static
from edgekit.quantize.calibration import read
from edgekit.recipe import load_recipe

BELL = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
OUTLIER = torch.tensor([100.0])


def found(observer, *batches):
    """Return the range that an observer's scale and zero point stand for."""
    made = observer(dtype=torch.int8, quant_min=-128, quant_max=127, eps=2.0**-24)
    for batch in batches:
        made(batch)
    scale, zero = (float(each) for each in made.calculate_qparams())
    return (-128 - zero) * scale, (127 - zero) * scale


def test_a_moving_average_of_few_samples_is_their_average() -> None:
    batches = (torch.tensor([-each, each]) for each in (1.0, 2.0, 3.0, 6.0))
    assert found(observers.MovingAverageObserver, *batches) == pytest.approx((-3, 3), abs=0.05)


@pytest.mark.parametrize("observer", [observers.PercentileObserver, observers.EntropyObserver])
def test_one_value_far_out_does_not_set_the_range(observer) -> None:
    low, high = found(observer, BELL, torch.cat([BELL, OUTLIER]))
    assert -6 < low < -2.5
    assert 2.5 < high < 20


@pytest.mark.parametrize("observer", [observers.PercentileObserver, observers.EntropyObserver])
def test_values_of_one_sign_keep_zero(observer) -> None:
    low, high = found(observer, BELL.abs() + 1)
    assert low == pytest.approx(0, abs=0.05)
    assert 3 < high < 6


def test_a_percentile_leaves_out_that_share() -> None:
    class Half(observers.PercentileObserver):
        percentile = 50.0

    values = torch.linspace(-1, 1, 10_001)
    low, high = found(Half, values)
    assert (low, high) == pytest.approx((-0.5, 0.5), abs=0.02)


def test_entropy_keeps_all_of_what_is_evenly_spread() -> None:
    low, high = found(observers.EntropyObserver, torch.linspace(-1, 1, 10_001))
    assert (low, high) == pytest.approx((-1, 1), abs=0.05)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x, y):
        return self.first(x) + self.second(y)


def test_outliers_and_empty_ranges_are_said() -> None:
    torch.manual_seed(0)
    rows = np.random.default_rng(0).standard_normal((4, 1, 8)).astype(np.float32)
    wide = rows.copy()
    wide[..., 3] *= 1000
    program = edgekit.export(Pair().eval(), (torch.ones(1, 8), torch.ones(1, 8)))
    first, second = program.samples[0]
    data = read({first: wide, second: np.zeros_like(rows)}, program.samples[0])
    notes = static.quantize(program, load_recipe("int8"), data).quantization.notes
    assert any(n.startswith("outliers: in what first reads one channel reaches") for n in notes)
    assert any(n.endswith("ranges are unknown: second") for n in notes)
    plain = read({first: rows, second: rows}, program.samples[0])
    assert static.quantize(program, load_recipe("int8"), plain).quantization.notes == ()
