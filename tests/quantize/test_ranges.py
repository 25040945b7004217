"""Rare values are left out of ranges where the outputs are better for it, and only there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.metrics import compare
from edgekit.quantize import static
from edgekit.quantize.calibration import CalibrationData
from edgekit.recipe import load_recipe

AUTO = load_recipe("int8")
WHOLE = replace(AUTO, calibration=replace(AUTO.calibration, method="min_max"))
SIZE = 2**12


class Layers(nn.Module):
    """Two layers; what is read of them is all values, or the largest."""

    def __init__(self, *, largest: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 1))
        self.largest = largest

    def forward(self, x):
        made = self.layers(x)
        return made.amax((1, 2)) if self.largest else made


def quantized(recipe, count=16, *, largest):
    """Return how a model was quantized on so many samples of noise, and its SQNR on another."""
    module = Layers(largest=largest).eval()
    given, *rows = (noise(index, largest=largest) for index in range(count + 1))
    program = edgekit.export(module, (given,))
    (name,) = program.samples[0]
    data = CalibrationData(tuple({name: each.numpy()} for each in rows), "test")
    made = static.quantize(program, recipe, data)
    with torch.no_grad():
        wanted = module(given).numpy()
        (result,) = made.exported.module()(**{name: given}).values()
    return made.quantization, compare(wanted, result.numpy()).sqnr_db


def noise(seed, *, largest):
    """Return noise; where the largest value counts, with a peak hardly above it."""
    values = torch.randn(1, 8, SIZE, generator=torch.Generator().manual_seed(seed))
    if largest:
        values[0, :, seed] = 5 * torch.tensor([1, -1, 1, 1, -1, -1, 1, -1])
    return values


def test_tails_are_cut_where_all_values_count_alike() -> None:
    found, sqnr_db = quantized(AUTO, largest=False)
    assert found.method in {"percentile", "mse"}
    assert sqnr_db > quantized(WHOLE, largest=False)[1] + 1
    (note,) = found.notes
    assert f"method {found.method}" in note


@pytest.mark.parametrize(("largest", "count"), [(True, 16), (False, 3)])
def test_all_values_stay_where_the_rare_ones_count_or_none_can_be_held_out(largest, count) -> None:
    found, sqnr_db = quantized(AUTO, count, largest=largest)
    assert (found.method, found.notes) == ("min_max", ())
    assert sqnr_db == pytest.approx(quantized(WHOLE, count, largest=largest)[1], abs=0.1)


def test_few_values_have_no_tails() -> None:
    """Then there is nothing to try, and small models are quantized as fast as ever."""
    program = edgekit.export(nn.Linear(4, 4).eval(), (torch.ones(1, 4),))
    (name,) = program.samples[0]
    rows = np.random.default_rng(0).standard_normal((64, 1, 4)).astype(np.float32)
    data = CalibrationData(tuple({name: row} for row in rows), "test")
    assert static.quantize(program, AUTO, data).quantization.method == "min_max"
