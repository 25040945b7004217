"""Passes leave the outputs what they were; each is shown a graph that it must change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit import passes
from edgekit.errors import ConversionError, UnsupportedOperatorError
from edgekit.exporting import export
from edgekit.passes.graph import calls, name_of
from edgekit.passes.legalization import legalize
from edgekit.passes.rules import all_rules
from edgekit.source import Source

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Masked(nn.Module):
    """Writes in place, computes a mask from nothing, and views what has that shape already."""

    def forward(self, x):
        mask = torch.ones(6, 6).tril()
        mask[0] = 0.5
        y = torch.relu_(x * mask).view(2, 3, 6, 6).clone().detach()
        return y * x.sum(3, keepdim=True).expand_as(y)


class Normalized(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(0.3)
        self.norm.running_var.fill_(2.0)

    def forward(self, x):
        return self.norm(self.conv(x))


def exported(module, *inputs):
    return export(Source(module.eval(), inputs)).exported


def names(program):
    return [name_of(node) for node in calls(program)]


def outputs(program, *inputs):
    named = dict(zip(program.graph_signature.user_inputs, inputs, strict=True))
    with torch.no_grad():
        return next(iter(program.module()(**named).values()))


def test_what_depends_on_no_input_is_computed_and_what_does_nothing_is_gone():
    program = exported(Masked(), X)
    before = outputs(program, X.clone())
    results = dict(zip(passes.PIPELINE, passes.run(program), strict=True))
    after = results["drop_unused_weights"].exported
    assert torch.equal(outputs(after, X.clone()), before)
    assert results["functionalize"].rewrites
    assert results["drop_no_ops"].rewrites
    assert results["drop_broadcasts"].rewrites == 1
    assert results["fold_constants"].rewrites == 1
    assert sorted(names(after)) == [
        *("aten.mul.Tensor", "aten.mul.Tensor", "aten.relu.default", "aten.sum.dim_IntList")
    ]


def test_computed_weights_become_weights():
    program = exported(Normalized(), X)
    before = outputs(program, X)
    after = passes.run(program)[-1].exported
    assert names(after)[0] == "aten.conv2d.default"
    assert any(name.startswith("folded") for name in after.state_dict)
    torch.testing.assert_close(outputs(after, X), before, rtol=1e-5, atol=1e-6)


def test_a_broadcast_is_not_written_out():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.row = nn.Parameter(torch.randn(1, 1, 1, 512))

        def forward(self, x):
            return torch.cat([self.row.expand(1, 8, 256, 512), x])

    program = exported(Wide(), torch.randn(1, 8, 256, 512))
    after = passes.run(program)[-1].exported
    assert sum(tensor.numel() for tensor in after.state_dict.values()) == 512
    assert not after.constants


def test_a_broken_pass_is_named_with_those_before_it(monkeypatch):
    from edgekit.passes import fold_constants

    monkeypatch.setattr(fold_constants, "run", lambda program: 1 / 0)
    with pytest.raises(ConversionError, match=r"fold_constants .* \(after .*drop_no_ops"):
        passes.run(exported(Masked(), X))


def test_an_operator_that_nothing_expresses_is_named_with_the_users_line():
    class Spectral(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvalsh(x @ x.T)

    program = passes.run(exported(Spectral(), X[0, 0]))[-1].exported
    with pytest.raises(UnsupportedOperatorError, match=r"eigh.*test_passes.py:\d+") as caught:
        legalize(program, "onnx", lambda operator: "linalg" not in str(operator))
    assert caught.value.to_json()["reason"] == "unsupported_operator"


RULES = {  # formats that need the rule, a function, its inputs
    "conv3d, groups": (
        {"tflite"},
        lambda x, w: torch.conv3d(x, w, stride=2, padding=1, dilation=1, groups=2),
        (torch.randn(1, 4, 6, 7, 8), torch.randn(6, 2, 3, 3, 3)),
    ),
    "conv_transpose3d": (
        {"tflite", "coreml"},
        lambda x, w: torch.conv_transpose3d(x, w, None, 2, 1, 1, 2),
        (torch.randn(1, 4, 3, 4, 5), torch.randn(4, 3, 3, 3, 3)),
    ),
    "conv_transpose2d, output padding": (
        {"tflite", "coreml"},
        lambda x, w: torch.conv_transpose2d(x, w, None, 3, 1, 2),
        (torch.randn(1, 4, 5, 6), torch.randn(4, 3, 4, 4)),
    ),
    "conv1d, same": (
        {"tflite", "coreml"},
        lambda x, w: torch.conv1d(x, w, padding="same", dilation=2),
        (torch.randn(1, 3, 20), torch.randn(4, 3, 4)),
    ),
    "logical_xor": (
        {"tflite"},
        torch.logical_xor,
        (torch.rand(3, 4) > 0.5, torch.rand(3, 4) > 0.5),
    ),
    "floor_divide": (
        {"tflite"},
        lambda x: torch.div(x, 0.3, rounding_mode="floor"),
        (torch.randn(3, 4),),
    ),
    "group_norm": ({"onnx"}, lambda x: torch.nn.functional.group_norm(x, 3) * 2, (X,)),
    "attention, causal and grouped": (
        {"onnx", "tflite", "coreml"},
        lambda q, k: torch.nn.functional.scaled_dot_product_attention(
            q, k, k + 1, is_causal=True, enable_gqa=True
        ),
        (torch.randn(2, 4, 6, 8), torch.randn(2, 2, 6, 8)),
    ),
    "permute, six axes": (
        {"coreml"},
        lambda x: x.reshape(2, 3, 2, 3, 2, 3).permute(5, 0, 3, 2, 1, 4),
        (X,),
    ),
    "arithmetic of seven axes": (
        {"coreml"},
        lambda x: x.reshape(2, 3, 2, 1, 3, 2, 3) * x[0].reshape(1, 3, 2, 1, 3, 1, 6)[..., :3],
        (X,),
    ),
    "reductions of six axes": (
        {"coreml"},
        lambda x: x.reshape(2, 3, 2, 3, 2, 3).amax((1, 4), keepdim=True).sum(-2),
        (X,),
    ),
    "parts of six axes": (
        {"tflite", "coreml"},
        lambda x: torch.cat([y := x.reshape(2, 3, 2, 3, 2, 3), y[:, :, :1]], 2).flip(1, 3)[:, 2],
        (X,),
    ),
    "where, numbers": ({"coreml"}, lambda x: torch.where(x > 0, 1, x), (X,)),
    "masked_fill": ({"coreml"}, lambda x, m: x.masked_fill(m, 2), (X[:, :1], X > 0)),
    "gather, smaller": (
        {"coreml"},
        lambda x, i: x.gather(1, i),
        (torch.randn(4, 4), torch.randint(0, 4, (2, 3))),
    ),
    "scatter_add, smaller": (
        {"tflite", "coreml"},
        lambda x, i, y: x.scatter_add(0, i, y),
        (torch.randn(4, 4, 2), torch.randint(0, 4, (5, 3, 1)), torch.randn(6, 4, 2)),
    ),
    "scatter_reduce, mean of others": (
        {"coreml"},
        lambda x, i, y: x.scatter_reduce(1, i, y, "mean", include_self=False),
        (torch.randn(3, 4), torch.randint(0, 4, (3, 5)), torch.randn(3, 5)),
    ),
    "scatter_reduce, least of others": (
        {"coreml"},
        lambda x, i, y: x.scatter_reduce(1, i, y, "amin", include_self=False),
        (torch.randn(3, 4), torch.randint(0, 4, (3, 5)), torch.randn(3, 5)),
    ),
    "searchsorted, many rows": (
        {"onnx", "tflite", "coreml"},
        lambda x, v: torch.searchsorted(x.sort(-1)[0], v, right=True),
        (torch.randn(3, 8), torch.randn(3, 5)),
    ),
    "bucketize": (
        {"onnx", "coreml"},
        lambda x: torch.bucketize(x, torch.tensor([-0.5, 0.0, 1.0])),
        (torch.randn(3, 8),),
    ),
    "avg_pool2d, unbatched": ({"coreml"}, lambda x: torch.nn.functional.avg_pool2d(x, 2), (X[0],)),
    "bilinear": (
        {"tflite", "coreml"},
        torch.nn.functional.bilinear,
        (torch.randn(2, 4), torch.randn(2, 3), torch.randn(5, 4, 3), torch.randn(5)),
    ),
    "matmul, vectors": (
        {"coreml"},
        lambda x, y: torch.matmul(x, y) + torch.matmul(y, x.T),
        (torch.randn(4, 4), torch.randn(4)),
    ),
    "affine_grid of a volume": (
        {"coreml"},
        lambda t: torch.nn.functional.affine_grid(t, (2, 1, 3, 4, 5), align_corners=False),
        (torch.randn(2, 3, 4),),
    ),
    "conv_tbc": (
        {"coreml"},
        torch.conv_tbc,
        (torch.randn(7, 2, 3), torch.randn(3, 3, 4), torch.randn(4)),
    ),
    "pdist": ({"coreml"}, lambda x: torch.pdist(x, 1), (torch.randn(4, 3),)),
    "cummin": ({"onnx", "tflite", "coreml"}, lambda x: x.cummin(1)[0], (torch.randn(4, 6),)),
    "diagonal_scatter": (
        {"coreml"},
        lambda x, y: x.diagonal_scatter(y, -1),
        (torch.randn(4, 3), torch.randn(3)),
    ),
    "erfinv": ({"coreml"}, torch.erfinv, (torch.linspace(-0.9999, 0.9999, 99),)),
    "bits of integers": (
        {"tflite", "coreml"},
        lambda x: (x | 5) + (x ^ -3) + (x & 6),
        (torch.randint(-99, 99, (3, 4), dtype=torch.int32),),
    ),
    "asinh": ({"coreml"}, torch.asinh, (X * 9,)),
    "attention, blind query": (
        {"onnx", "coreml"},
        lambda q, m: torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=m),
        (torch.randn(2, 2, 6, 8), torch.ones(6, 6, dtype=torch.bool).tril(-1)),
    ),
}


@pytest.mark.parametrize("format_name", ["onnx", "tflite", "coreml"])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_computes_what_the_operator_does(name, format_name):
    needing, function, inputs = RULES[name]

    class Called(nn.Module):
        def forward(self, *tensors):
            return function(*tensors) + 0

    program = passes.run(exported(Called(), *inputs))[-1].exported
    before = names(program)
    after = legalize(program, format_name, lambda operator: True)
    assert (names(after) != before) == (format_name in needing)
    got, want = outputs(after, *inputs), function(*inputs) + 0
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, *states):
        steps, last = self.layer(x, states if len(states) > 1 else states[0])
        return {"steps": steps, "last": last}


@pytest.mark.parametrize(
    ("layer", "states", "formats", "count"),
    [
        (nn.RNN(4, 6, 2, bidirectional=True), [(4, 2, 6)], {"coreml"}, 4),
        (
            nn.LSTM(4, 6, 2, bidirectional=True, proj_size=3, batch_first=True),
            [(4, 5, 3), (4, 5, 6)],
            {"coreml", "onnx"},
            2,
        ),
    ],
    ids=["rnn, both directions", "lstm, projected"],
)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("format_name", ["onnx", "coreml"])
def test_a_recurrent_layer_becomes_layers_that_stay_fused(
    layer, states, formats, count, format_name
):
    inputs = (torch.randn(5, 2, 4), *map(torch.randn, states))
    program = passes.run(exported(Recurrent(layer), *inputs))[-1].exported
    after = legalize(program, format_name, lambda operator: True)
    fused = [name for name in names(after) if name.endswith(".input")]
    assert len(fused) == (count if format_name in formats else 1)
    named = dict(zip(after.graph_signature.user_inputs, inputs, strict=True))
    steps, last = layer(inputs[0], inputs[1:] if len(states) > 1 else inputs[1])
    with torch.no_grad():
        found = after.module()(**named)
    torch.testing.assert_close(found.pop("steps"), steps, rtol=1e-4, atol=1e-5)
    wanted = last if isinstance(last, tuple) else (last,)
    torch.testing.assert_close(tuple(found.values()), wanted, rtol=1e-4, atol=1e-5)


def test_branches_become_a_choice():
    class Branches(nn.Module):
        def forward(self, x):
            def inner(x):
                return torch.cond(x.mean() > 0, torch.sin, torch.cos, (x * 2,))

            return torch.cond(x.sum() > 0, inner, lambda x: x - 1, (x,))

    for x in (X, -X):
        program = passes.run(exported(Branches(), x))[-1].exported
        result = passes.run(program, ("both_branches",))[-1]
        assert result.rewrites == 1
        assert names(result.exported).count("aten.where.self") == 2
        torch.testing.assert_close(outputs(result.exported, x), Branches()(x))


def test_only_the_last_of_many_reshapes_is_left():
    def windows(x):
        x = x.reshape(2, 3, 2, 3, 2, 3).unsqueeze(1).squeeze(1).flatten(0, 1).unflatten(0, (3, 2))
        return x.reshape(6, 36) * 2

    class Reshaped(nn.Module):
        def forward(self, x):
            return windows(x)

    program = passes.run(exported(Reshaped(), X))[-1].exported
    assert names(program) == ["aten.reshape.default", "aten.mul.Tensor"]
    assert torch.equal(outputs(program, X), windows(X))


def test_every_rule_says_why_and_for_which_format():
    for each in all_rules():
        assert each.why, each.name
        assert set(each.why) <= {"onnx", "tflite", "coreml"}
        assert all(each.why.values())
        assert each.rewrite.__doc__
