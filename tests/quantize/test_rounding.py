"""How far an artifact may be from its graph follows from how far the graph is from itself."""

import math

import pytest
import torch
from torch import nn

import edgekit
from edgekit.recipe import Tolerance

STRICT, WIDE = Tolerance(30.0, 0.999, 0.05, 0.95), Tolerance(10.0, 0.95, 0.5, 0.9)


class Deep(nn.Module):
    """Many layers after one another: a single rounding the other way spreads."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1) for _ in range(depth)])
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight, gain=2**0.5)

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


@pytest.mark.slow
def test_what_kernels_differ_by_from_the_graph_it_differs_by_from_itself(tmp_path) -> None:
    torch.manual_seed(0)
    rows = torch.randn(4, 1, 16, 32, 32)
    (result,) = edgekit.convert(
        Deep(12).eval(),
        (rows[0],),
        formats=["onnx"],
        recipe="int8",
        calibration=[(each,) for each in rows],
        output_dir=tmp_path,
        use_cache=False,
    ).results
    verdict = result.verification
    assert result.status == "passed", result.error or verdict
    assert verdict.rounding_sqnr_db < 50
    assert verdict.rounding_sqnr_db - 6 < verdict.sqnr_db < verdict.rounding_sqnr_db + 20


@pytest.mark.parametrize(
    ("nearest", "wanted"),
    [
        (math.inf, STRICT),
        (45.0, STRICT),
        (24.0, Tolerance(24.0, 1 - 0.001 * 10**0.6, 0.05 * 10**0.3, 1 - 0.05 * 10**0.3)),
        (-5.0, WIDE),
    ],
)
def test_bounds_widen_in_proportion_and_no_further_than_those_to_the_source(nearest, wanted):
    found = STRICT.within(nearest, WIDE)
    for key, value in vars(wanted).items():
        assert getattr(found, key) == pytest.approx(value)
