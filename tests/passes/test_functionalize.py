"""Functionalization: writing node by node gives what PyTorch's own gives, and knows its limits."""

from __future__ import annotations

import pytest
import torch
from torch.export import export

from edgekit import passes
from edgekit.fused import layers_kept
from edgekit.passes import functionalize
from edgekit.passes.graph import calls, name_of
from edgekit.passes.writes import mutates
from edgekit.quiet import quiet
from tests.conformance import operators

X = torch.linspace(-2, 2, 12).reshape(3, 4)
# PyTorch takes "shrink" apart, which legalization does where it must, and leaves a part of
# "cartesian_prod" whole.
SUITE = [
    pytest.param(name, marks=[pytest.mark.slow] if place % 16 else [])
    for place, name in enumerate(operators.suite())
    if "shrink" not in name and "cartesian_prod" not in name
]


def fresh(x):
    return (x * 2).relu_().add_(1).mul_(x)


def viewed_before(x):
    y = x * 2
    row = y[0]
    y.add_(1)
    return row + y


def written_through_nothing(x):
    y = x * 2
    torch.nn.functional.dropout(y, 0.5, False).relu_()  # a dropout that is the tensor itself
    return y


def written_in_part(x):
    y = torch.zeros(3, 4)
    y[:, 1:3] = x[:, :2]
    return y + x


def input_written(x):
    return x.add_(1) * 2


def half_written(x):
    return x.half().add_(x * 1000.0)


def part_of_a_split(x):
    whole = x * 2
    first, second = whole.split(2, 1)
    first.relu_()
    return whole, second


@pytest.mark.parametrize(
    ("function", "short"),
    [
        (fresh, True),
        (viewed_before, False),
        (written_through_nothing, True),
        (written_in_part, False),
        (input_written, False),
        (half_written, False),
        (part_of_a_split, False),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_write_that_others_see_takes_the_long_way(function, short, monkeypatch):
    ways = []
    monkeypatch.setattr(
        torch.export.ExportedProgram, "run_decompositions", noted(ways), raising=True
    )
    after = functionalize.run(exported(Calls(function), (X.clone(),))).exported
    assert not any(map(mutates, calls(after)))
    assert not ways if short else ways
    assert after.dialect == "ATEN"
    same(after.module()(X.clone()), function(X.clone()))


def noted(ways):
    original = torch.export.ExportedProgram.run_decompositions

    def run(program, *args):
        ways.append(program)
        return original(program, *args)

    return run


@pytest.mark.parametrize("name", SUITE)
def test_both_ways_end_in_the_same_operators(name):
    module, inputs = operators.suite()[name].build()
    ours = functionalize.run(exported(module, inputs)).exported
    with quiet(), layers_kept():
        theirs = exported(module, inputs).run_decompositions({})
    ours, theirs = (passes.run(each, passes.AFTER_REWRITES)[-1].exported for each in (ours, theirs))
    assert [name_of(n) for n in calls(ours)] == [name_of(n) for n in calls(theirs)]
    with torch.no_grad():
        same(ours.module()(*inputs), theirs.module()(*inputs))


class Calls(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def exported(module, inputs):
    with quiet(), layers_kept(), torch.no_grad():
        return export(module, inputs)


def same(got, wanted):
    torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)
