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


def test_every_rule_says_why_and_for_which_format():
    for each in all_rules():
        assert each.why, each.name
        assert set(each.why) <= {"onnx", "tflite", "coreml"}
        assert all(each.why.values())
        assert each.rewrite.__doc__
