"""Recurrent layers stay loops: at most 30 operators per layer in every format."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edgekit
from edgekit import passes, registry
from edgekit.exporting import export
from edgekit.source import Source
from tests.conformance import running, vendors

MOST = 30  # per layer, or per direction of one

LAYERS = {  # a stack, its layers times directions, steps
    "lstm": (nn.LSTM(8, 12, num_layers=2), 2, 40),
    "gru": (nn.GRU(8, 12, num_layers=2, batch_first=True), 2, 40),
    "rnn": (nn.RNN(8, 12, num_layers=2), 2, 40),
    "lstm, three layers": (nn.LSTM(8, 12, num_layers=3), 3, 40),
    "lstm, projected": (nn.LSTM(8, 12, num_layers=2, proj_size=6), 2, 40),
    "gru, two steps": (nn.GRU(8, 12, num_layers=2), 2, 2),
    "lstm, both directions": (nn.LSTM(8, 12, bidirectional=True), 2, 40),
    "gru, both directions": (nn.GRU(8, 12, num_layers=2, bidirectional=True), 4, 40),
    "rnn, both directions": (nn.RNN(8, 12, nonlinearity="relu", bidirectional=True), 2, 40),
    "lstm, a long sequence": (nn.LSTM(8, 96), 1, 300),
    "gru, a long sequence": (nn.GRU(8, 96), 1, 300),
}


class WithState(nn.Module):
    """A layer that is given its state, if it is, and then returns the next one."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, *states):
        if not states:
            return self.layer(x)[0]
        return self.layer(x, states if len(states) > 1 else states[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format_name", ["onnx", "tflite", "coreml"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_has_few_operators_whatever_the_length(name, format_name, tmp_path):
    layer, count, length = LAYERS[name]
    torch.manual_seed(0)
    x = torch.randn(length, 1, 8)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = [layer.proj_size or layer.hidden_size, *[layer.hidden_size] * (layer.mode == "LSTM")]
    states = [torch.randn(rows, 1, size) for size in sizes]
    given = [] if "long" in name else states
    inputs = (x.transpose(0, 1) if layer.batch_first else x, *given)
    program = edgekit.export(WithState(layer).eval(), inputs)
    verdict = running.convert(program, format_name, tmp_path)
    assert verdict.status == "passed", verdict.reason
    module = registry.load("formats", format_name)
    ops = module.summarize(tmp_path / f"model{vendors.SUFFIXES[format_name]}").ops
    told = {kind: number for kind, number in ops.items() if kind not in ("const", "Constant")}
    assert sum(told.values()) <= MOST * count, told


class OneStep(nn.Module):
    """One step of all that a layer gives."""

    def __init__(self, layer, index):
        super().__init__()
        self.layer = layer
        self.index = index

    def forward(self, x):
        steps = self.layer(x)[0]
        return steps[:, self.index] if self.layer.batch_first else steps[self.index]


@pytest.mark.parametrize(
    ("layer", "index", "count"),
    [
        (nn.LSTM(4, 6, num_layers=2, batch_first=True), -1, 1),
        (nn.LSTM(4, 6, proj_size=3), 4, 1),
        (nn.GRU(4, 6), -1, 1),
        (nn.RNN(4, 6, nonlinearity="relu"), -1, 1),
        (nn.GRU(4, 6, batch_first=True), -2, 0),  # batch first: 2 rows of 5 steps
        (nn.GRU(4, 6, bidirectional=True), -1, 0),  # which one direction begins with
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_the_last_step_is_the_last_state(layer, index, count):
    x = torch.randn(2, 5, 4) if layer.batch_first else torch.randn(5, 2, 4)
    model = OneStep(layer, index).eval()
    exported = export(Source(model, (x,))).exported
    results = dict(zip(passes.PIPELINE, passes.run(exported), strict=True))
    assert results["last_step"].rewrites == count
    with torch.no_grad():
        (found,) = results[passes.PIPELINE[-1]].exported.module()(x=x).values()
        torch.testing.assert_close(found, model(x))


@pytest.mark.filterwarnings("ignore")
def test_a_loop_keeps_no_steps_that_nothing_reads(tmp_path):
    operators = {}
    for name, index in (("kept", 0), ("not kept", -1)):
        program = edgekit.export(OneStep(nn.LSTM(8, 12), index).eval(), (torch.randn(40, 1, 8),))
        assert running.convert(program, "tflite", tmp_path).status == "passed"
        operators[name] = (
            registry.load("formats", "tflite").summarize(tmp_path / "model.tflite").ops
        )
    assert "CONCATENATION" in operators["kept"]
    assert "CONCATENATION" not in operators["not kept"]


class Ends(nn.Module):
    """The last states of a layer, and nothing else."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("layer", "steps"), [(nn.LSTM, 7), (nn.GRU, 2), (nn.RNN, 7)])
def test_two_layers_share_a_loop_one_step_apart(layer, steps, tmp_path):
    torch.manual_seed(0)
    model = Ends(layer(8, 12, num_layers=2)).eval()
    program = edgekit.export(model, (torch.randn(steps, 3, 8),))
    verdict = running.convert(program, "tflite", tmp_path)
    assert verdict.status == "passed", verdict.reason
    ops = registry.load("formats", "tflite").summarize(tmp_path / "model.tflite").ops
    assert ops["WHILE"] == 1
    assert sum(ops.values()) <= MOST * 2, ops
