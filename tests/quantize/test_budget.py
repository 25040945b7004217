"""A model that 8 bits hurt in one place is brought within a budget by that place alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.errors import ConversionError, UsageError
from edgekit.quantize import static
from edgekit.quantize.calibration import read
from edgekit.quantize.fit import budget, ladder
from edgekit.quantize.fit.ladder import LADDER, applied, climbed
from edgekit.quantize.fit.within import Within
from edgekit.recipe import Override, load_recipe

RECIPE = load_recipe("int8")
FORMATS = ("onnx", "tflite", "coreml")


class Fragile(nn.Module):
    """Five layers; what the middle one reads differs two-hundredfold from channel to channel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 16, bias=False) for _ in range(5)])
        self.register_buffer("spread", torch.logspace(0, 2.3, 16))

    def forward(self, x):
        for index, layer in enumerate(self.layers):
            x = layer(x * self.spread if index == 2 else x)
        return x


@pytest.fixture(scope="module")
def fragile():
    torch.manual_seed(1)
    model = Fragile().eval()
    with torch.no_grad():
        model.layers[2].weight /= model.spread  # small channels weigh as much as large ones
    program = edgekit.export(model, (torch.randn(1, 4, 16),))
    rows = torch.randn(16, 1, 4, 16, generator=torch.Generator().manual_seed(2)).numpy()
    (name,) = program.samples[0]
    return program, read({name: rows}, program.samples[0])


@pytest.fixture(scope="module")
def found(fragile):
    program, data = fragile
    return budget.fit(program, RECIPE, data, 0.05)


def test_the_culprit_is_found_and_no_other_layer_is_touched(found) -> None:
    assert found.layers[0].layer == "layers.2"
    assert set(found.chosen) == {"layers.2"}
    assert found.all_integer > found.budget >= found.loss
    assert (0, found.all_integer) in found.trials


def test_it_beats_keeping_the_first_and_the_last(fragile, found) -> None:
    """With fewer layers in float."""
    program, data = fragile
    naive = applied(RECIPE, dict.fromkeys(["layers.0", "layers.4"], "fp32"))
    _, judge = budget._judge(program, data, None)
    assert judge(static.quantize(program, naive, data)) > 2 * found.loss


@pytest.mark.slow
def test_a_tighter_budget_takes_a_more_exact_plan(fragile, found) -> None:
    program, data = fragile
    tight = budget.fit(program, RECIPE, data, 0.008)
    assert tight.loss <= 0.008 < found.loss
    assert len(tight.chosen) > len(found.chosen)


def test_a_budget_that_nothing_breaks_changes_nothing(fragile) -> None:
    program, data = fragile
    assert budget.fit(program, RECIPE, data, 0.9).chosen == {}


def test_a_recipe_that_leaves_nothing_to_choose_is_said(fragile) -> None:
    every = replace(RECIPE, overrides=(LADDER["fp32"].override(""),))
    with pytest.raises(ConversionError, match="quantizes nothing"):
        budget.fit(fragile[0], every, fragile[1], 0.01)


@pytest.mark.slow
def test_a_budget_that_nothing_meets_is_said(fragile) -> None:
    program, data = fragile
    with pytest.raises(ConversionError, match="No layer can be quantized within"):
        budget.fit(program, RECIPE, data, 0.0)


def test_the_users_measure_is_what_counts(fragile) -> None:
    """The metric here is fine with any precision, so nothing changes."""
    program, data = fragile
    found = budget.fit(program, RECIPE, data, 0.01, lambda _run: {"accuracy": 0.9})
    assert (found.metric, found.chosen) == ("loss of accuracy", {})


def test_the_recipe_can_be_read_again(found, tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(found.as_toml())
    again = load_recipe(path)
    assert again.overrides == found.recipe.overrides
    assert replace(again, name=RECIPE.name, aliases=RECIPE.aliases) == found.recipe
    assert np.isclose(Within.from_json(found.to_json()).loss, found.loss)


def test_a_recipe_of_ones_own_is_a_start(fragile, tmp_path) -> None:
    """Its overrides and its calibration stay, and are in the file that comes of it."""
    own = tmp_path / "own.toml"
    own.write_text(
        'base = "int8"\n[calibration]\nmethod = "mse"\n'
        '[[override]]\nlayer = "0$"\nweights = "float32"\nactivations = "float32"\n'
    )
    program, data = fragile
    found = budget.fit(program, load_recipe(own), data, 0.05)
    assert "layers.0" not in {each.layer for each in found.layers}
    (tmp_path / "found.toml").write_text(found.as_toml())
    again = load_recipe(tmp_path / "found.toml")
    assert replace(again, name="own") == found.recipe
    assert len(again.overrides) == 1 + len(found.chosen) > 1


@pytest.mark.parametrize("figures", [{}, 0.7, None, {"accuracy": float("nan")}, {"a": "b"}])
def test_a_measure_that_is_none_is_said(fragile, figures) -> None:
    with pytest.raises(UsageError, match="no measure of accuracy"):
        budget.fit(fragile[0], RECIPE, fragile[1], 0.01, lambda _run: figures)


def test_small_weights_of_float_layers_are_in_the_graph(fragile) -> None:
    program, data = fragile
    made = static.quantize(program, applied(RECIPE, {"layers.1": "w8fp32"}), data)
    kinds = [str(node.target) for node in made.exported.graph.nodes]
    assert kinds.count("edgekit.integer_weight.default") == 1


# -- The ladder ------------------------------------------------------------------------------------


def test_one_recipe_is_possible_in_every_format() -> None:
    rungs = [each.name for each in climbed(RECIPE, FORMATS).rungs]
    assert rungs == ["w8a8", "w8fp32", "fp32"]
    assert "8 bits only" in climbed(RECIPE, FORMATS).refused["w8a16"]
    assert [each.name for each in climbed(RECIPE, ("tflite",)).rungs] == [
        "w8a8",
        "w8a16",
        "w8fp32",
        "fp32",
    ]
    assert "fp16" in {each.name for each in climbed(RECIPE, ("onnx", "coreml")).rungs}


def test_only_integers_are_chosen_where_only_they_are_asked_for() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)).eval()
    with torch.no_grad():
        for layer in model:  # its weights are multiples of what 8 bits tell apart
            layer.weight.copy_(torch.randint(-127, 128, (16, 16)) / 127)
            layer.weight[:, 0] = 1
    program = edgekit.export(model, (torch.randn(1, 4, 16),))
    (name,) = program.samples[0]
    rows = torch.randn(8, 1, 4, 16).numpy()
    asked = (program, RECIPE, read({name: rows}, program.samples[0]))
    found = budget.fit(*asked, 0.002, formats=("tflite",), integers_only=True)
    assert found.all_integer > 0.002 >= found.loss
    assert set(found.counts) <= {"w8a8", "w8a16"}
    assert found.float_macs == 0
    with pytest.raises(ConversionError, match="w8a8 and w8a16 do not meet"):
        budget.fit(*asked, 1e-7, formats=("tflite",), integers_only=True)


def test_what_a_layer_begins_with_is_the_lowest_rung() -> None:
    wide = load_recipe("w8a16")
    first = climbed(wide, ("tflite",)).above(wide.precision)
    assert [each.name for each in first] == ["w8a16", "w8fp32", "fp32"]
    mixed = replace(RECIPE, overrides=(Override(layer="head", activations="int16"),))
    names = [each.name for each in climbed(mixed).above(mixed.at("head", "linear"))]
    assert names[0] == "w8a16"
    assert "w8a8" not in names


def test_each_rung_leaves_less_noise(fragile) -> None:
    program, data = fragile
    layers = budget._sensitivities(program, RECIPE, data, climbed(RECIPE))
    noises = layers[0].noises
    assert noises["w8a8"] > 2 * noises["w8a16"]
    assert noises["w8a16"] >= noises["w8fp32"] > noises["fp16"] > noises["fp32"] == 0
    assert layers[0].macs == 4 * 16 * 16


def test_what_float16_cannot_hold_is_not_made_in_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    with torch.no_grad():
        model[0].weight *= 1e6
    program = edgekit.export(model, (torch.ones(1, 4),))
    (name,) = program.samples[0]
    data = read({name: np.ones((2, 1, 4), np.float32)}, program.samples[0])
    layers = budget._sensitivities(program, RECIPE, data, climbed(RECIPE))
    assert all("fp16" not in each.noises and "fp32" in each.noises for each in layers)


def test_slow_kernels_are_avoided_where_float_ones_are_as_exact() -> None:
    """TFLite's 16-bit kernels are many times slower on a CPU than float ones."""
    pace = climbed(RECIPE, ("tflite",)).pace
    assert pace["w8a16"] > 10 * pace["w8fp32"] > pace["w8a8"]


def test_steps_are_the_cheapest_way_up() -> None:
    """A precision that costs more than a better one is left out."""
    possible = ladder.Ladder(
        tuple(LADDER[name] for name in ("w8a8", "w8a16", "w8fp32", "fp32")),
        {},
        {"w8a8": 0.25, "w8a16": 4.0, "w8fp32": 1.0, "fp32": 1.0},
    )
    noises = {"w8a8": 1.0, "w8a16": 0.1, "w8fp32": 0.1, "fp32": 0.0}
    steps = budget._steps([budget.Sensitivity("a", noises, 100, 100)], possible)
    assert [step.rung for step in steps] == ["w8fp32", "fp32"]
    possible.pace["w8a16"] = 0.5
    steps = budget._steps([budget.Sensitivity("a", noises, 100, 100)], possible)
    assert [step.rung for step in steps] == ["w8a16", "fp32"]


@pytest.mark.slow
def test_what_the_plan_costs_is_measured(tmp_path) -> None:
    torch.manual_seed(1)
    model = Fragile().eval()
    with torch.no_grad():
        model.layers[2].weight /= model.spread
    rows = torch.randn(16, 1, 4, 16, generator=torch.Generator().manual_seed(2))
    report = edgekit.convert(
        model,
        (torch.randn(1, 4, 16),),
        recipe="int8",
        calibration=[(row,) for row in rows],
        accuracy_budget="5%",
        output_dir=tmp_path,
        name="fragile",
    )
    assert [each.status for each in report.results] == ["passed"] * 3
    assert set(report.fitted.costs) == set(FORMATS)
    for name, made in report.fitted.costs.items():
        assert [each.told for each in made] == ["all in w8a8", "as converted"]
        assert all((each.ratio is None) == (name == "coreml") for each in made)
        assert made[0].size != made[1].size
    assert load_recipe(tmp_path / "fragile.recipe.toml").overrides == report.fitted.recipe.overrides


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"accuracy_budget": "much", "calibration": "random"}, "such as 1%"),
        ({"accuracy_budget": "1%", "recipe": "fp16"}, "fp16 is none"),
        ({"accuracy_budget": "1%"}, "needs calibration data"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(given, said) -> None:
    with pytest.raises(UsageError, match=said):
        edgekit.convert(Fragile(), (torch.zeros(1, 4, 16),), **{"recipe": "int8", **given})
