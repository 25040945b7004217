"""Recurrent layers, for a format that would get every step written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.passes import recurrence  # noqa: F401 - defines the operator
from edgekit.passes.rules import rule

# Weights of layers that may share a loop.  What a layer reads of the one before is then multiplied
# step by step, and all weights are read at every step.  Two LSTM layers of 64 units, 60 thousand
# weights, take 0.89 of the time in one loop on an EPYC, of 96 units 0.98 to 1.07, of 128 units 1.08
# to 1.11; with 8-bit weights 0.73 to 0.78, 0.76 to 0.86 and 0.86 to 0.93.
_FUSED = 10**5
_UNROLLED = "every step written out; kept as one loop instead"


@rule("lstm.input", tflite=_UNROLLED)
def lstm(x: Tensor, states: list[Tensor], params: list[Tensor], *options: Any) -> Any:
    """Make a loop per direction, for each layer or for several small ones."""
    return _stack("lstm", x, states, params, *options)


@rule(
    "lstm.input",
    onnx="its operator has no projection, and the exporter leaves it out",
    coreml="counts the projection's weights among the others",
)
def projected_lstm(
    x: Tensor,
    states: list[Tensor],
    params: list[Tensor],
    has_biases: Any,
    layers: int,
    dropout: float,
    train: Any,
    bidirectional: Any,
    batch_first: Any,
) -> Any:
    """Let the loop feed back what is not projected yet, and project all its steps after it.

    ``W_hh (W_hr u)`` is ``(W_hh W_hr) u``; the pseudoinverse gives a ``u`` of the first state.
    """
    directions = 2 if bidirectional else 1
    each = len(params) // (layers * directions)
    if train or each != (5 if has_biases else 3):
        return NotImplemented
    last: list[tuple[Tensor, Tensor]] = []
    for layer in range(layers):
        rows = range(layer * directions, (layer + 1) * directions)
        weights: list[Tensor] = []
        first, out = [], []
        for row in rows:
            into, within, *biases, projection = params[row * each : (row + 1) * each]
            weights += [into, within @ projection, *biases]
            first.append(states[0][row] @ torch.linalg.pinv(projection).T)
            out.append(projection.T)
        begin = [torch.stack(first), torch.cat([states[1][row][None] for row in rows])]
        options = (has_biases, 1, dropout, False, bidirectional, batch_first)
        steps, hidden, cell = torch.ops.aten.lstm.input(x, begin, weights, *options)
        size = out[0].shape[0]
        parts = [steps[..., k * size : (k + 1) * size] @ out[k] for k in range(directions)]
        x = torch.cat(parts, -1) if bidirectional else parts[0]
        last += [(hidden[k] @ out[k], cell[k]) for k in range(directions)]
    return (x, *(torch.stack(ends) for ends in zip(*last, strict=True)))


@rule("rnn_tanh.input", "rnn_relu.input", shared=True, coreml="one direction only")
def both_directions(
    operator: Any,
    x: Tensor,
    state: Tensor,
    params: list[Tensor],
    has_biases: Any,
    layers: int,
    dropout: float,
    train: Any,
    bidirectional: Any,
    batch_first: Any,
) -> Any:
    """Run each direction of each layer as a layer of its own."""
    if train or not bidirectional:
        return NotImplemented
    steps, each = (1 if batch_first else 0), len(params) // (2 * layers)
    options = (has_biases, 1, dropout, False, False, batch_first)
    last = []
    for layer in range(layers):
        parts = []
        for backward in (0, 1):
            row = 2 * layer + backward
            begin, weights = state[row : row + 1], params[row * each : (row + 1) * each]
            found, end = operator(x.flip([steps]) if backward else x, begin, weights, *options)
            parts.append(found.flip([steps]) if backward else found)
            last.append(end)
        x = torch.cat(parts, -1)
    return x, torch.cat(last)


@rule("gru.input", tflite=_UNROLLED)
def gru(x: Tensor, state: Tensor, params: list[Tensor], *options: Any) -> Any:
    """Make a loop per direction, for each layer or for several small ones."""
    return _stack("gru", x, [state], params, *options)


@rule("rnn_tanh.input", tflite=_UNROLLED)
def rnn_tanh(x: Tensor, state: Tensor, params: list[Tensor], *options: Any) -> Any:
    """Make a loop per direction, for each layer or for several small ones."""
    return _stack("rnn_tanh", x, [state], params, *options)


@rule("rnn_relu.input", tflite=_UNROLLED)
def rnn_relu(x: Tensor, state: Tensor, params: list[Tensor], *options: Any) -> Any:
    """Make a loop per direction, for each layer or for several small ones."""
    return _stack("rnn_relu", x, [state], params, *options)


def _stack(
    kind: str,
    x: Tensor,
    states: list[Tensor],
    params: list[Tensor],
    has_biases: Any,
    layers: int,
    _dropout: float,
    train: Any,
    bidirectional: Any,
    batch_first: Any,
) -> Any:
    """Run loops one after another, each of one layer or of several."""
    if train or not all(isinstance(size, int) for size in x.shape):
        return NotImplemented
    directions = 2 if bidirectional else 1
    each = len(params) // (layers * directions)
    rows = [params[k : k + each] for k in range(0, len(params), each)]
    last: list[Tensor] = []
    x = x.transpose(0, 1) if batch_first else x
    for group in _groups(rows, directions):
        found = []
        for first, backward in ((group[0], False), (group[0] + 1, True))[:directions]:
            places = range(first, group[-1] + 1, directions)
            begin = [state[place] for place in places for state in states]
            weights = [rows[place] for place in places]
            steps, *ends = _loop(kind, x, begin, weights, bool(has_biases), backward)
            found.append(steps)
            last += ends
        x = torch.cat(found, -1) if bidirectional else found[0]
    x = x.transpose(0, 1) if batch_first else x
    return (x, *(torch.stack(last[k :: len(states)]) for k in range(len(states))))


def _groups(rows: list[list[Tensor]], directions: int) -> list[range]:
    """Return the rows of weights that run in one loop, for each loop or pair of directions."""
    fits = sum(each.numel() for row in rows for each in row[:2]) <= _FUSED
    if directions == 1 and fits:
        return [range(len(rows))]
    return [range(k, k + directions) for k in range(0, len(rows), directions)]


def _loop(
    kind: str,
    x: Tensor,
    begin: list[Tensor],
    layers: list[list[Tensor]],
    has_biases: bool,
    reverse: bool,
) -> list[Tensor]:
    """Compute what the inputs give the gates, all steps at once, and then the loop."""
    into, within = ([row[k] for row in layers] for k in (0, 1))
    biases = [[row[k] for row in layers] if has_biases else [] for k in (2, 3)]
    rest = 4 if has_biases else 2
    projections = [row[rest] for row in layers if len(row) > rest]
    gates = functional.linear(x, into[0], biases[0][0] if has_biases else None)
    found: list[Tensor] = torch.ops.edgekit.recurrence(
        kind, gates, begin, within, biases[1], projections, into[1:], biases[0][1:], reverse
    )
    return found
