"""Families of rules: each computes what the operator does, in the formats that need it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit import passes
from edgekit.exporting import export
from edgekit.passes.graph import calls, name_of
from edgekit.passes.legalization import legalize
from edgekit.source import Source

SEED = torch.Generator().manual_seed(0)
X = torch.randn(3, 4, generator=SEED)
WAVE = torch.randn(2, 64, generator=SEED)
INTEGERS = torch.randint(-9, 9, (3, 4), generator=SEED)
PLACES = torch.tensor([[0, 2, 2, 1], [3, 3, 0, 1], [1, 1, 1, 1]])
SEQUENCE = torch.randn(7, 2, 5, generator=SEED)
TFLITE, REAL, ALL = {"tflite"}, {"tflite", "coreml"}, {"tflite", "coreml", "onnx"}


class Called(nn.Module):
    """A function as a module; a module that it uses is a part of it."""

    def __init__(self, function, part=None):
        super().__init__()
        self.function = function
        self.part = part

    def forward(self, *tensors):
        inputs = tensors if self.part is None else (self.part, *tensors)
        return self.function(*inputs)


def steps(layer, x):
    return layer(x)[0]


def last_states(layer, x):
    hidden = layer(x)[1]
    return torch.cat(hidden if isinstance(hidden, tuple) else [hidden], -1)


def power(x):
    return torch.stft(x, 16, 4, 12, torch.hann_window(12), return_complex=True).abs().square()


def there_and_back(x):
    window = torch.hann_window(16)
    spectrum = torch.stft(x, 16, 4, window=window, return_complex=True)
    return torch.istft(spectrum * (1 + 0.5j), 16, 4, window=window)


RULES = {  # formats that need a rule, a function, its inputs
    "lstm": (TFLITE, steps, nn.LSTM(5, 6, num_layers=2), SEQUENCE),
    "lstm, states": (TFLITE, last_states, nn.LSTM(5, 6, bidirectional=True), SEQUENCE),
    "lstm, projected": (ALL, steps, nn.LSTM(5, 6, proj_size=3, bidirectional=True), SEQUENCE),
    "gru": (TFLITE, steps, nn.GRU(5, 6, bidirectional=True, batch_first=True), SEQUENCE),
    "rnn": (TFLITE, steps, nn.RNN(5, 6, nonlinearity="relu"), SEQUENCE),
    "stft": (REAL, power, None, WAVE),
    "istft": (ALL, there_and_back, None, WAVE),
    "fft, a large size": (REAL, lambda x: torch.fft.fft(x).imag, None, torch.randn(1, 2048)),
    "fft, two axes": (REAL, lambda x: torch.fft.ifft2(x, norm="ortho").imag, None, X),
    "irfft, odd": (REAL, lambda x: torch.fft.irfft(torch.fft.rfft(x), n=63), None, WAVE),
    "irfft, large": (
        REAL,
        lambda x: torch.fft.irfft(torch.fft.rfft(x), n=2048),
        *(None, torch.randn(1, 2048)),
    ),
    "complex product": (
        REAL,
        lambda x: torch.view_as_real(torch.polar(x.abs(), x) * torch.complex(x, -x)),
        *(None, X),
    ),
    "cond": (
        REAL,
        lambda x: torch.cond(x.sum() > 0, lambda y: y * 2, lambda y: y - 1, (x,)),
        *(None, X),
    ),
    "index, a tensor": (REAL, lambda x, i: x[:, i], None, X, torch.tensor(-2)),
    "max_pool2d, places": (
        TFLITE | {"coreml"},
        lambda x: functional.max_pool2d(x, 3, 2, 1, return_indices=True)[1],
        *(None, torch.randn(1, 2, 7, 6)),
    ),
    "nearest, to a size": (
        TFLITE,
        lambda x: functional.interpolate(x, (5, 7)),
        *(None, torch.randn(1, 2, 3, 4)),
    ),
    "cat, types": (TFLITE, lambda x, y: torch.cat([x, y]), None, X, INTEGERS),
    "convolution, float16": (
        TFLITE,
        lambda x: functional.conv1d(x, x[:1]),
        *(None, torch.randn(2, 3, 4).half()),
    ),
    "grid_sample, reflection": (
        TFLITE,
        lambda x: functional.grid_sample(
            x, x[:, :2].movedim(1, -1) * 3, padding_mode="reflection", align_corners=False
        ),
        *(None, torch.rand(1, 3, 4, 4)),
    ),
    "atan2": (
        {"coreml"},
        lambda y, x: torch.atan2(y, x),
        *(None, torch.tensor([0.0, 0, 2, -2, -0.5]), torch.tensor([-3.0, 2, 0, 0, -1])),
    ),
    "abs": (TFLITE, torch.abs, None, INTEGERS),
    "fmod": (TFLITE | {"coreml"}, lambda x: torch.fmod(x, 4), None, INTEGERS),
    "pow": (TFLITE, lambda x: x**5, None, INTEGERS),
    "pow, each": (TFLITE, lambda x: torch.pow(x, x.abs()), None, INTEGERS),
    "matmul": (TFLITE, lambda x: x @ x.T, None, INTEGERS),
    "gt": (TFLITE, lambda x: x > 0.5, None, INTEGERS),
    "xor": (REAL, lambda x: x ^ 5, None, INTEGERS),
    "sort": (TFLITE, lambda x: x.sort(0, descending=True).values, None, INTEGERS),
    "sort, places": (TFLITE, lambda x: x.sort(1).indices, None, X),
    "topk, smallest": (TFLITE, lambda x: x.topk(2, 0, largest=False).values, None, X),
    "searchsorted": (
        ALL,
        lambda x: torch.searchsorted(torch.tensor([-1.0, 0.0, 1.0]), x, right=True),
        *(None, X),
    ),
    "logcumsumexp": (REAL, lambda x: torch.logcumsumexp(x * 30, 1), None, X),
    "one_hot": (REAL, lambda x: functional.one_hot(x, 5), None, PLACES),
    "scatter_add": (TFLITE, lambda x: x.scatter_add(1, PLACES, x), None, X),
    "index_add": (TFLITE, lambda x: x.index_add(1, PLACES[0], x, alpha=2), None, X),
    "index_put": (
        TFLITE,
        lambda x: x.index_put((PLACES[1] - 2, PLACES[0]), x[0], accumulate=True),
        *(None, X.expand(3, 4).clone()),
    ),
    "index_put, a condition": (
        TFLITE,
        lambda x: x.index_put((x > 0,), torch.tensor(7.0)),
        *(None, X),
    ),
    "scatter_reduce, amin": (
        TFLITE,
        lambda x: x.scatter_reduce(1, PLACES, x * 2, "amin"),
        *(None, X),
    ),
    "scatter_reduce, mean": (
        TFLITE | {"coreml"},
        lambda x: x.scatter_reduce(1, PLACES, x, "mean"),
        None,
        X,
    ),
    "attention, one head of keys": (
        ALL,
        lambda q, k: functional.scaled_dot_product_attention(q, k, k + 1, enable_gqa=True),
        *(None, torch.randn(2, 4, 6, 8), torch.randn(2, 1, 6, 8)),
    ),
    "expand": (
        TFLITE,
        lambda x: x[:, None].expand(3, 4, 4).transpose(1, 2).reshape(12, 4),
        *(None, X),
    ),
    "einsum, a diagonal": (
        TFLITE,
        lambda x: torch.einsum("bii->b", x),
        None,
        X.expand(2, 3, 4)[:, :, :3].clone(),
    ),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("format_name", ["onnx", "tflite", "coreml"])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_computes_what_the_operator_does(name, format_name):
    needing, function, part, *inputs = RULES[name]
    module = Called(function, part).eval()
    program = passes.run(export(Source(module, tuple(inputs))).exported)[-1].exported
    before = [name_of(node) for node in calls(program)]
    after = legalize(program, format_name, lambda operator: True)
    assert ([name_of(node) for node in calls(after)] != before) == (format_name in needing)
    named = dict(zip(after.graph_signature.user_inputs, inputs, strict=True))
    with torch.no_grad():
        (got,), want = after.module()(**named).values(), module(*inputs)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5)
