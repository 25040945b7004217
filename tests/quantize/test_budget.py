"""A model that 8 bits hurt in one place is brought within a budget by that place alone."""

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.errors import ConversionError, UsageError
from edgekit.quantize import budget, static
from edgekit.quantize.calibration import read
from edgekit.quantize.within import Within, as_toml, keeping
from edgekit.recipe import load_recipe

RECIPE = load_recipe("int8")


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


def test_the_culprit_is_found_and_kept(found) -> None:
    assert found.layers[0].layer == "layers.2"
    assert "layers.2" in found.kept
    assert found.all_integer > found.budget >= found.loss
    assert (0, found.all_integer) in found.trials


def test_it_beats_keeping_the_first_and_the_last(fragile, found) -> None:
    """With as many layers in float, or fewer."""
    program, data = fragile
    naive = keeping(RECIPE, ["layers.0", "layers.4"])
    _, judge = budget._judge(program, data, None)
    assert judge(static.quantize(program, naive, data)) > 2 * found.loss
    assert len(found.kept) <= 2


def test_a_budget_that_nothing_breaks_keeps_nothing(fragile) -> None:
    program, data = fragile
    assert budget.fit(program, RECIPE, data, 0.9).kept == ()


def test_a_budget_that_nothing_meets_is_said(fragile) -> None:
    program, data = fragile
    with pytest.raises(ConversionError, match="No layer can be quantized within"):
        budget.fit(program, RECIPE, data, 0.0)


def test_the_users_measure_is_what_counts(fragile) -> None:
    """The metric here is fine with any precision, so nothing stays in float."""
    program, data = fragile
    found = budget.fit(program, RECIPE, data, 0.01, lambda _run: {"accuracy": 0.9})
    assert (found.metric, found.kept) == ("loss of accuracy", ())


def test_the_recipe_can_be_read_again(found, tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(as_toml(found))
    again = load_recipe(path)
    assert again.overrides == found.recipe.overrides
    assert np.isclose(Within.from_json(found.to_json()).loss, found.loss)


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
