"""Hard activations that authors wrote out: known in every spelling, and nothing else is."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from edgekit import passes
from edgekit.exporting import export
from edgekit.passes.graph import calls, name_of
from edgekit.source import Source

X = torch.linspace(-5, 5, 24).reshape(2, 12)
SWISHES = {
    "divided": lambda x: x * F.relu6(x + 3) / 6,
    "divided before": lambda x: x * (F.relu6(x + 3.0) / 6.0),
    "times a sixth": lambda x: x * F.hardtanh(x + 3, 0.0, 6.0) * (1 / 6),
    "clamped": lambda x: (3 + x).clamp(0, 6) / 6 * x,
    "in place": lambda x: x * F.relu6(x + 3.0, inplace=True).div(6),
    "of a sigmoid": lambda x: x * F.hardsigmoid(x),
}
SIGMOIDS = {
    "divided": lambda x: F.relu6(x + 3) / 6,
    "clamped": lambda x: torch.clamp(x + 3, 0, 6) * (1 / 6),
}
NEITHER = {
    "another shift": lambda x: x * F.relu6(x + 2) / 6,
    "another bound": lambda x: x * (x + 3).clamp(0, 5) / 6,
    "one bound": lambda x: x * (x + 3).clamp(0) / 6,
    "another factor": lambda x: x * F.relu6(x + 3) / 5,
    "another value": lambda x: (x + 1) * F.relu6(x + 3) / 6,
    "scaled sum": lambda x: x * F.relu6(torch.add(x, 3, alpha=2)) / 6,
    "integers": lambda x: x.int() * (x.int() + 3).clamp(0, 6) / 6,
}


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def rewritten(function):
    """Return the operators that a function has become, its result before and after."""
    module = Calls(function).eval()
    program = passes.run(export(Source(module, (X,))).exported)[-1].exported
    (name,) = program.graph_signature.user_inputs
    (result,) = program.module()(**{name: X}).values()
    return [name_of(node) for node in calls(program)], module(X), result


@pytest.mark.parametrize(
    ("function", "name"),
    [
        *((each, "hardswish") for each in SWISHES.values()),
        *((each, "hardsigmoid") for each in SIGMOIDS.values()),
    ],
    ids=[*(f"swish, {key}" for key in SWISHES), *(f"sigmoid, {key}" for key in SIGMOIDS)],
)
def test_one_operator_is_left(function, name):
    operators, wanted, result = rewritten(function)
    assert operators == [f"aten.{name}.default"]
    torch.testing.assert_close(result, wanted)


@pytest.mark.parametrize("function", NEITHER.values(), ids=NEITHER)
def test_what_is_not_quite_one_stays(function):
    operators, wanted, result = rewritten(function)
    assert not {"aten.hardswish.default", "aten.hardsigmoid.default"} & set(operators)
    torch.testing.assert_close(result, wanted)
