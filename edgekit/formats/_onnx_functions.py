"""ONNX functions of operators that torch.onnx lacks, or writes differently.

It has functions for LSTM and GRU, and writes every step of `torch.nn.RNN` out: here a layer is one
``RNN``.  Its reshape takes a size of 0 for "as before", which only its view does not.  Its hard
sigmoid is arithmetic, of three passes over the values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import FLOAT
from onnxscript.function_libs.torch_lib.ops.core import aten_view
from onnxscript.onnx_opset import opset18 as op


def rnn_tanh(
    input: FLOAT,  # noqa: A002 - the exporter matches arguments by PyTorch's names
    hx: FLOAT,
    params: Sequence[FLOAT],
    has_biases: bool,
    num_layers: int,
    dropout: float,  # noqa: ARG001
    train: bool,  # noqa: ARG001
    bidirectional: bool,
    batch_first: bool,
) -> tuple[FLOAT, FLOAT]:
    """Convert ``aten.rnn_tanh.input``."""
    return _stack("Tanh", input, hx, params, has_biases, num_layers, bidirectional, batch_first)


def rnn_relu(
    input: FLOAT,  # noqa: A002
    hx: FLOAT,
    params: Sequence[FLOAT],
    has_biases: bool,
    num_layers: int,
    dropout: float,  # noqa: ARG001
    train: bool,  # noqa: ARG001
    bidirectional: bool,
    batch_first: bool,
) -> tuple[FLOAT, FLOAT]:
    """Convert ``aten.rnn_relu.input``."""
    return _stack("Relu", input, hx, params, has_biases, num_layers, bidirectional, batch_first)


def hardsigmoid(self: FLOAT) -> FLOAT:
    """Convert ``aten.hardsigmoid.default``."""
    return op.HardSigmoid(self, alpha=1 / 6, beta=0.5)


def hardswish(self: FLOAT) -> FLOAT:
    """Convert ``aten.hardswish.default``: ONNX Runtime takes its HardSwish apart just so."""
    return op.Mul(self, op.HardSigmoid(self, alpha=1 / 6, beta=0.5))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.rnn_tanh.input: rnn_tanh,
    torch.ops.aten.rnn_relu.input: rnn_relu,
    torch.ops.aten.reshape.default: aten_view,
    torch.ops.aten.hardsigmoid.default: hardsigmoid,
    torch.ops.aten.hardswish.default: hardswish,
}


def _stack(
    activation: str,
    x: Any,
    states: Any,
    params: Sequence[Any],
    has_biases: bool,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Any, Any]:
    """Run the layers one after another; a layer's directions are one operator."""
    directions = 2 if bidirectional else 1
    each = len(params) // (layers * directions)
    x = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
    last = []
    for layer in range(layers):
        rows = range(layer * directions, (layer + 1) * directions)
        weights = [params[row * each : (row + 1) * each] for row in rows]
        into, within = (_stacked([each[place] for each in weights]) for place in (0, 1))
        biases = [op.Concat(*each[2:], axis=0) for each in weights if has_biases]
        y, end = op.RNN(
            x,
            into,
            within,
            _stacked(biases) if has_biases else None,
            None,
            op.Slice(states, [rows.start], [rows.stop], [0]) if layers > 1 else states,
            activations=[activation] * directions,
            direction="bidirectional" if bidirectional else "forward",
            hidden_size=states.shape[2],
        )
        last.append(end)
        # steps, directions, batch, units
        y = op.Transpose(y, perm=[0, 2, 1, 3])
        x = op.Reshape(y, [0, 0, -1])
    x = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
    return x, op.Concat(*last, axis=0) if layers > 1 else last[0]


def _stacked(tensors: Sequence[Any]) -> Any:
    """Return the tensors of a layer's directions with an axis for the direction before the rest."""
    found = [op.Unsqueeze(each, [0]) for each in tensors]
    return op.Concat(*found, axis=0) if len(found) > 1 else found[0]
