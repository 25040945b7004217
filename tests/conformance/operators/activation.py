"""Activations, with their parameters."""

import torch
from torch import nn
from torch.nn import functional

from tests.conformance.operators.values import normal

X = normal(2, 4, 6, scale=2)

CASES = {
    "relu": (functional.relu, X),
    "relu6": (functional.relu6, normal(2, 4, 6, scale=4)),
    "relu, 0-d": (functional.relu, normal()),
    "leaky_relu": (lambda x: functional.leaky_relu(x, 0.2), X),
    "leaky_relu, default": (functional.leaky_relu, X),
    "prelu, one": (nn.PReLU(), X),
    "prelu, per channel": (nn.PReLU(4), X),
    "elu": (functional.elu, X),
    "elu, alpha": (lambda x: functional.elu(x, 0.3), X),
    "celu": (lambda x: functional.celu(x, 1.5), X),
    "selu": (functional.selu, X),
    "gelu": (functional.gelu, X),
    "gelu, tanh": (lambda x: functional.gelu(x, approximate="tanh"), X),
    "silu": (functional.silu, X),
    "mish": (functional.mish, X),
    "hardswish": (functional.hardswish, normal(2, 4, 6, scale=4)),
    "hardsigmoid": (functional.hardsigmoid, normal(2, 4, 6, scale=4)),
    "hardtanh": (functional.hardtanh, X),
    "hardtanh, bounds": (lambda x: functional.hardtanh(x, -0.3, 0.7), X),
    "hardtanh, integer bounds": (lambda x: functional.hardtanh(x, 0, 2), X),
    "hardshrink": (lambda x: functional.hardshrink(x, 0.6), X),
    "softshrink": (lambda x: functional.softshrink(x, 0.6), X),
    "tanhshrink": (functional.tanhshrink, X),
    "threshold": (lambda x: functional.threshold(x, 0.5, -3.0), X),
    "softplus": (functional.softplus, X),
    "softplus, beta and threshold": (lambda x: functional.softplus(x, 3.0, 5.0), X),
    "softsign": (functional.softsign, X),
    "logsigmoid": (functional.logsigmoid, X),
    "glu": (lambda x: functional.glu(x, 1), X),
    "softmax": (lambda x: x.softmax(-1), X),
    "softmax, first axis": (lambda x: x.softmax(0), X),
    "softmax, far values": (lambda x: (x * 30).softmax(1), X),
    "softmax, of int64": (lambda x: x.softmax(-1, dtype=torch.float32), X),
    "log_softmax": (lambda x: x.log_softmax(1), X),
    "log_softmax, far values": (lambda x: (x * 20).log_softmax(-1), X),
    "softmin": (lambda x: functional.softmin(x, 1), X),
    "softmax2d": (nn.Softmax2d(), normal(1, 4, 3, 3)),
    "sigmoid times tanh": (lambda x: torch.sigmoid(x) * torch.tanh(x), X),
}
