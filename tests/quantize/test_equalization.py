"""Factors move between weights: the function stays, and channels reach equally far."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import edgekit
from edgekit import passes
from edgekit.metrics import compare
from edgekit.quantize import static
from edgekit.quantize.calibration import CalibrationData
from edgekit.quantize.costs import tensors
from edgekit.quantize.methods import equalization
from edgekit.recipe import Calibration, Override, load_recipe

PLAIN = load_recipe("int8")
EQUAL = replace(PLAIN, calibration=Calibration("min_max", equalize=True))


class Chain(nn.Module):
    """A separable block with pools, a sum around it, and a head that reads all pixels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 1, groups=2)
        self.up = nn.ConvTranspose2d(12, 8, 2, 2, groups=2)
        self.head = nn.Linear(8 * 16, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.grouped(self.depthwise(x).relu()).relu()
        x = (self.up(functional.avg_pool2d(y, 2)) + x).relu()
        return self.head(functional.max_pool2d(x, 2).flatten(1))


class Tokens(nn.Module):
    """A transformer layer: norms, three projections of one value, attention, a gated product."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LayerNorm(16), nn.RMSNorm(16)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.out, self.up, self.gate, self.down = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x):
        y = self.first(x)
        heads = [
            each(y).unflatten(-1, (2, 8)).transpose(1, 2)
            for each in (self.query, self.key, self.value)
        ]
        mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        y = self.second(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class Shuffled(nn.Module):
    """Channels split, joined and shuffled; half of them skip a layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.side, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        left, right = self.stem(x).relu().chunk(2, 1)
        joined = torch.cat([left, self.side(right).relu()], 1)
        shuffled = joined.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        return self.last(shuffled)


# What makes a value and what reads it; between them anything may be moved.
MOVES = {
    Chain: ((("stem", "up"), ("depthwise", "head")), (("depthwise",), ("grouped",)),
            (("grouped",), ("up",))),
    Tokens: ((("first",), ("query", "key", "value")), (("value",), ("out",)),
             (("second",), ("up", "gate")), (("up",), ("down",))),
    Shuffled: (),
}  # fmt: skip
INPUTS = {Chain: (1, 3, 8, 8), Tokens: (1, 5, 16), Shuffled: (1, 3, 6, 6)}


def uneven(module):
    """Let channels reach as differently as 1:1000, with the function as it was."""
    generator = torch.Generator().manual_seed(0)
    for makers, readers in MOVES[type(module)]:
        first = module.get_submodule(makers[0])
        factors = 10 ** (3 * torch.rand(first.weight.shape[0], generator=generator) - 1.5)
        for name in makers:
            multiply(module.get_submodule(name), factors, made=True)
        for name in readers:
            multiply(module.get_submodule(name), 1 / factors, made=False)
    return module


def multiply(layer, factors, *, made):
    """Multiply what a layer makes, or the weights that read."""
    weight, groups = layer.weight.data, getattr(layer, "groups", 1)
    if made and getattr(layer, "bias", None) is not None:
        layer.bias.data *= factors
    if weight.dim() > 1 and made is isinstance(layer, nn.ConvTranspose2d):
        factors = factors.repeat_interleave(weight.shape[1] * groups // len(factors))
        by_group = weight.view(groups, len(weight) // groups, weight.shape[1], -1)
        by_group *= factors.reshape(groups, 1, -1, 1)
    else:
        weight *= factors.reshape(-1, *[1] * (weight.dim() - 1))


def exported(module, *inputs, **options):
    torch.manual_seed(0)
    made = edgekit.export(module.eval(), inputs or (torch.randn(INPUTS[type(module)]),), **options)
    return replace(made, exported=passes.run(made.exported)[-1].exported)


def noise(program, count=16, seed=3):
    generator = np.random.default_rng(seed)
    ((name, example),) = program.samples[0].items()
    return [
        {name: generator.standard_normal(example.shape).astype(np.float32)} for _ in range(count)
    ]


def run(module, program, samples):
    with torch.no_grad():
        outputs = [module(**tensors(each, program)) for each in samples]
    return np.concatenate([next(iter(each.values())).numpy().reshape(-1) for each in outputs])


def equalized(program, samples, recipe=EQUAL):
    """The float graph before and after, and the layers whose weights are not what they were."""
    before, after = (program.exported.module(check_guards=False) for _ in range(2))
    with torch.no_grad():
        equalization.equalize(after, recipe, [tensors(each, program) for each in samples])
    old, new = before.state_dict(), after.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    return before, after, {name.removeprefix("model.").rpartition(".")[0] for name in changed}


def quantization_db(program, recipe, samples, unseen, wanted):
    made = static.quantize(program, recipe, CalibrationData(tuple(samples), "test"))
    module = made.exported.module(check_guards=False)
    return compare(wanted, run(module, program, unseen)).sqnr_db


@pytest.mark.parametrize("kind", [Chain, Tokens])
def test_what_unequal_channels_cost_comes_back(kind) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    even = exported(module)
    samples, unseen = noise(even), noise(even, 8, seed=4)
    wanted = run(even.exported.module(check_guards=False), even, unseen)
    best = quantization_db(even, PLAIN, samples, unseen, wanted)
    program = exported(uneven(module))
    spoilt, repaired = (
        quantization_db(program, recipe, samples, unseen, wanted) for recipe in (PLAIN, EQUAL)
    )
    assert spoilt < best - 9
    assert repaired > best - 2


@pytest.mark.parametrize("kind", [Chain, Tokens, Shuffled])
def test_the_function_stays_what_it_was(kind) -> None:
    torch.manual_seed(0)
    program = exported(uneven(kind().eval()))
    unseen = noise(program, 8, seed=4)
    state = {name: value.clone() for name, value in program.exported.state_dict.items()}
    before, after, changed = equalized(program, noise(program))
    expected = {name for move in MOVES[kind] for side in move for name in side}
    assert changed == (expected or {"stem", "side", "last"})
    wanted = run(before, program, unseen)
    assert compare(wanted, run(after, program, unseen)).sqnr_db > 100
    assert all(torch.equal(value, program.exported.state_dict[k]) for k, value in state.items())


class Between(nn.Module):
    """Two layers with a function between them."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.function(self, self.first(x))


@pytest.mark.parametrize(
    ("function", "moves"),
    [
        (lambda m, x: m.last(x), True),
        (lambda m, x: m.last(functional.leaky_relu(x)), True),
        (lambda m, x: m.last(x[:, 1:].mean(1)), True),
        (lambda m, x: m.last(x * torch.linspace(1, 2, 8).softmax(0)), True),
        (lambda m, x: m.last(x) + torch.cat([x[..., :2], x[..., :2]], 2), True),  # but 0, 1
        (lambda m, x: m.last(x * x.detach().softmax(1)), False),  # softmax reads it, too
        (lambda m, x: m.last(functional.gelu(x)), False),
        (lambda m, x: m.last(functional.hardtanh(x)), False),
        (lambda m, x: m.last(x + 1.0), False),
        (lambda m, x: m.last(x.mean(2, keepdim=True).expand(-1, -1, 8)), False),
        (lambda m, x: m.last(x) + m.last(x.relu()), False),  # a shared weight
        (lambda m, x: m.last(x) + x.sum(2, keepdim=True), False),  # read by another sum
        (lambda m, x: functional.linear(x, x[0]), False),  # read as a weight
        (lambda m, x: m.last(x * x), False),
        (lambda m, x: m.last(x * x.sigmoid()), False),
        (lambda m, x: m.last(x * m.last(x.sigmoid() + 1).sum()), False),
    ],
)  # fmt: skip
def test_factors_pass_only_where_the_function_stays(function, moves) -> None:
    torch.manual_seed(0)
    program = exported(Between(function), torch.randn(1, 8, 8))
    samples = noise(program)
    before, after, changed = equalized(program, samples)
    assert changed == ({"first", "last"} if moves else set())
    assert compare(run(before, program, samples), run(after, program, samples)).sqnr_db > 100


def test_what_cannot_be_equalized_is_said() -> None:
    program = exported(Between(lambda m, x: m.last(functional.gelu(x))), torch.randn(1, 8, 8))
    data = CalibrationData(tuple(noise(program, 2)), "test")
    (note,) = static.quantize(program, EQUAL, data).quantization.notes
    assert "no channels" in note


class Clamped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, bias=False)

    def forward(self, x):
        return self.last(functional.relu6(self.first(x)))


def test_a_clamp_cuts_nothing_that_was_seen_and_nothing_later_than_before() -> None:
    torch.manual_seed(0)
    module = Clamped().eval()
    module.last.weight.data = torch.eye(8)[:, :, None, None].clone()  # shows what was clamped
    module.first.weight.data *= torch.tensor([12.0, *[0.5] * 7]).reshape(8, 1, 1, 1)
    program = exported(module, torch.randn(1, 3, 8, 8))
    samples = noise(program)
    before, after, changed = equalized(program, samples)
    assert changed == {"first", "last"}
    assert compare(run(before, program, samples), run(after, program, samples)).sqnr_db > 100
    wild = [{name: 30 * array for name, array in each.items()} for each in samples]
    wanted, got = run(before, program, wild), run(after, program, wild)
    assert got.max() <= 6.0001
    assert np.all(got <= wanted + 1e-4)
    seen = run(before, program, samples).reshape(16, 8, -1).max((0, 2))
    assert np.all(got.reshape(16, 8, -1).max((0, 2)) >= seen - 1e-4)


def test_layers_in_float_are_left_alone() -> None:
    torch.manual_seed(0)
    program = exported(uneven(Chain().eval()))
    samples = noise(program)
    floats = Override(layer="^(depthwise|grouped)", weights="float32", activations="float32")
    before, after, changed = equalized(program, samples, replace(EQUAL, overrides=(floats,)))
    assert changed == {"stem", "up", "depthwise", "head", "grouped"}  # what integers read
    assert compare(run(before, program, samples), run(after, program, samples)).sqnr_db > 100
    floats = Override(layer="", weights="float32", activations="float32")
    *_, changed = equalized(program, samples, replace(EQUAL, overrides=(floats,)))
    assert changed == set()


def test_sizes_may_vary() -> None:
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=8)
    program = exported(
        uneven(Chain().eval()), torch.randn(2, 3, 8, 8), dynamic_shapes={"x": {0: batch}}
    )
    samples = noise(program)
    before, after, changed = equalized(program, samples)
    assert "stem" in changed
    others = [{name: array[:1] for name, array in each.items()} for each in samples]
    assert compare(run(before, program, others), run(after, program, others)).sqnr_db > 100
    made = static.quantize(program, EQUAL, CalibrationData(tuple(samples), "test"))
    got = run(made.exported.module(check_guards=False), program, others)
    assert compare(run(before, program, others), got).sqnr_db > 20
