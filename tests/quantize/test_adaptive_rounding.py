"""Weights are rounded up or down as the outputs of their layers need it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit import passes
from edgekit.metrics import compare
from edgekit.quantize import dialects, static
from edgekit.quantize.calibration import CalibrationData
from edgekit.quantize.costs import tensors
from edgekit.quantize.methods.adaptive_rounding import turned
from edgekit.quantize.quantizer import base_name
from edgekit.recipe import Calibration, Override, load_recipe

RECIPE = load_recipe("static_wi8_ai16")  # weights make the error, values next to none
NEAREST = Calibration("min_max", correct_bias=False)
PLAIN = replace(RECIPE, calibration=NEAREST)
ADAPTIVE = replace(RECIPE, calibration=replace(NEAREST, rounding="adaptive"))
ALL = replace(RECIPE, calibration=Calibration("min_max", rounding="adaptive", equalize=True))


class Net(nn.Module):
    """Convolutions with groups, steps and gaps, and a linear layer over tokens."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=8, bias=False)
        self.grouped = nn.Conv2d(8, 16, (1, 3), groups=2)
        self.tokens, self.last = nn.Linear(16, 32), nn.Linear(32, 8)

    def forward(self, x):
        x = self.depthwise(self.stem(x).relu()).relu()
        x = self.tokens(self.grouped(x).relu().flatten(2).transpose(1, 2))
        return self.last(x.relu())


@pytest.fixture(scope="module")
def program():
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=8)
    module, image = Net().eval(), torch.randn(2, 3, 16, 16)
    made = edgekit.export(module, (image,), dynamic_shapes={"x": {0: batch}})
    return replace(made, exported=passes.run(made.exported)[-1].exported)


def noise(seed, count):
    generator = np.random.default_rng(seed)
    shape = (1, 3, 16, 16)
    return tuple({"x": generator.standard_normal(shape).astype(np.float32)} for _ in range(count))


def run(program, samples):
    module = program.exported.module(check_guards=False)
    with torch.no_grad():
        outputs = [module(**tensors(each, program)) for each in samples]
    return np.stack([next(iter(each.values())).numpy() for each in outputs])


def quantized(program, recipe):
    return static.quantize(program, recipe, CalibrationData(noise(1, 32), "test"))


def integers(program):
    """The stored integers and scales of each layer's weight."""
    stored = dialects.stored_tensors(program.exported)
    nodes = [n for n in program.exported.graph.nodes if base_name(n).startswith(("conv", "linear"))]
    weights = [n.args[1] for n in nodes if dialects.is_dequantize(n.args[1])]
    return [(stored[w.args[0].name].int(), stored[w.args[1].name]) for w in weights]


def test_the_output_comes_nearer_on_inputs_that_were_not_seen(program) -> None:
    state = {name: value.clone() for name, value in program.exported.state_dict.items()}
    unseen = noise(2, 16)
    wanted = run(program, unseen)
    made = {name: quantized(program, r) for name, r in (("plain", PLAIN), ("up", ADAPTIVE))}
    found = {name: compare(wanted, run(each, unseen)).sqnr_db for name, each in made.items()}
    assert found["up"] > found["plain"] + 2
    turned_somewhere = 0
    for (nearest, scale), (chosen, same) in zip(*map(integers, made.values()), strict=True):
        torch.testing.assert_close(scale, same, rtol=1e-6, atol=0)
        assert (nearest - chosen).abs().max() <= 1
        turned_somewhere += int((nearest != chosen).any())
    assert turned_somewhere == 5
    assert all(torch.equal(value, program.exported.state_dict[k]) for k, value in state.items())
    again = integers(quantized(program, ADAPTIVE))
    assert all(
        torch.equal(a, b) for (a, _), (b, _) in zip(integers(made["up"]), again, strict=True)
    )


def test_it_goes_with_the_other_options_and_with_layers_in_float(program) -> None:
    floats = Override(layer="grouped", weights="float32", activations="float32")
    unseen = noise(2, 8)
    wanted = run(program, unseen)
    plain, best = (
        compare(wanted, run(quantized(program, replace(r, overrides=(floats,))), unseen)).sqnr_db
        for r in (PLAIN, ALL)
    )
    assert best > plain + 2


def test_what_two_layers_share_is_rounded_to_the_nearest() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    made = edgekit.export(nn.Sequential(layer, nn.ReLU(), layer).eval(), (torch.randn(4, 8),))
    (name,) = made.samples[0]
    data = CalibrationData(tuple({name: each[name]} for each in made.samples), "test")
    (nearest, _), (same, _) = integers(static.quantize(made, PLAIN, data))
    (first, _), (second, _) = integers(static.quantize(made, ADAPTIVE, data))
    assert torch.equal(first, nearest)
    assert torch.equal(second, same)


def test_turning_never_raises_the_error_and_beats_the_nearest() -> None:
    torch.manual_seed(0)
    exact = torch.randn(6, 24) * 20
    rows = torch.randn(400, 24) @ torch.randn(24, 24)  # inputs that depend on one another
    squares, products = rows.T @ rows, exact @ rows.T @ rows
    (found,) = turned(exact[None], squares[None], products[None], len(rows))
    assert torch.equal(found, found.round())
    assert ((found - exact).abs() < 1).all()

    def errors(weights):
        return ((weights - exact) @ rows.T).square().sum(1)

    assert (errors(found) <= errors(exact.round())).all()
    assert errors(found).sum() < 0.5 * errors(exact.round()).sum()
