"""Kernels of coremltools' recurrent.py.

Inputs are ``[steps, batch, features]``.  With direction "reverse" the outputs stand in the order in
which they were computed, the last step of x first; only the backward half of a bidirectional LSTM
is put back into the order of x.  float16 since iOS17.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from edgekit.mil.kernels import kernel, scalar
from edgekit.mil.kernels.defaults import FALSE


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "hard_sigmoid": _hard_sigmoid,
    "linear": torch.positive,
    "relu": torch.relu,
    "scaled_tanh": torch.tanh,  # both factors are 1
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": torch.tanh,
}


@kernel("rnn")
def rnn(
    *,
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Tensor = FALSE,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """`h = activation(W_ih x + W_hh h + bias)`."""
    act = _ACTIVATIONS[activation.lower()]
    h, outputs = initial_h, []
    for projected in linear(_ordered(x, direction), weight_ih, bias):
        h = act(projected + linear(h, weight_hh))
        outputs.append(h)
    return _sequence(outputs, output_sequence), h


@kernel("gru")
def gru(
    *,
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Tensor = FALSE,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: Tensor = FALSE,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gates in order r, o, z; iOS18 adds input_bias, and resetting after the matrix product."""
    gate, act = _ACTIVATIONS[recurrent_activation.lower()], _ACTIVATIONS[activation.lower()]
    size = weight_hh.shape[1]
    w_r, w_o, w_z = torch.split(weight_hh, size)
    if bias is None:
        bias = weight_hh.new_zeros(3 * size)
    b_r, b_o, b_z = torch.split(bias, size)
    h, outputs = initial_h, []
    for projected in linear(_ordered(x, direction), weight_ih, input_bias):
        x_r, x_o, x_z = torch.split(projected, size, -1)
        r = gate(x_r + linear(h, w_r, b_r))
        z = gate(x_z + linear(h, w_z, b_z))
        reset = r * linear(h, w_o, b_o) if scalar(reset_after) else linear(r * h, w_o, b_o)
        h = (1 - z) * act(x_o + reset) + z * h
        outputs.append(h)
    return _sequence(outputs, output_sequence), h


@kernel("lstm")
def lstm(
    *,
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Tensor = FALSE,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gates in order i, f, o, z; a peephole of o sees the new cell state, after it is clipped."""
    names = (recurrent_activation, cell_activation, activation)
    acts = tuple(_ACTIVATIONS[name.lower()] for name in names)
    bound = None if clip is None else scalar(clip)
    if direction != "bidirectional":
        outputs, h, c = _lstm_pass(
            _ordered(x, direction), initial_h, initial_c, weight_ih, weight_hh, bias, peephole,
            acts, bound,
        )  # fmt: skip
        return _sequence(outputs, output_sequence), h, c
    assert weight_ih_back is not None, "it is bidirectional and lacks weight_ih_back"
    assert weight_hh_back is not None, "it is bidirectional and lacks weight_hh_back"
    (h_ahead, h_back), (c_ahead, c_back) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    ahead, h_ahead, c_ahead = _lstm_pass(
        x, h_ahead, c_ahead, weight_ih, weight_hh, bias, peephole, acts, bound
    )
    back, h_back, c_back = _lstm_pass(
        x.flip(0), h_back, c_back, weight_ih_back, weight_hh_back, bias_back, peephole_back,
        acts, bound,
    )  # fmt: skip
    h, c = torch.cat([h_ahead, h_back], -1), torch.cat([c_ahead, c_back], -1)
    if not scalar(output_sequence):
        return h.unsqueeze(0), h, c
    return torch.cat([torch.stack(ahead), torch.stack(back[::-1])], -1), h, c


def _lstm_pass(  # noqa: PLR0913, RUF100
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    peephole: Tensor | None,
    acts: tuple[Callable[[Tensor], Tensor], ...],
    clip: float | None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Run one direction of an LSTM; returns each step's h, and the last h and c."""
    gate, cell, out = acts
    size = weight_hh.shape[1]
    p_i, p_f, p_o = (0.0, 0.0, 0.0) if peephole is None else torch.split(peephole, size)
    outputs = []
    for projected in linear(x, weight_ih, bias):
        i, f, o, z = torch.split(projected + linear(h, weight_hh), size, -1)
        c = gate(f + p_f * c) * c + gate(i + p_i * c) * cell(z)
        if clip is not None:
            c = c.clamp(-clip, clip)
        h = gate(o + p_o * c) * out(c)
        outputs.append(h)
    return outputs, h, c


def _ordered(x: Tensor, direction: str) -> Tensor:
    return x.flip(0) if direction == "reverse" else x


def _sequence(outputs: list[Tensor], all_steps: Tensor) -> Tensor:
    return torch.stack(outputs if scalar(all_steps) else outputs[-1:])
