"""Recurrent kernels against recurrences in NumPy, written out by step and by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.mil.goldens import assert_golden, f32

STEPS, BATCH, INPUT, HIDDEN = 4, 2, 3, 5
ACTIVATIONS: dict[str, Any] = {
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "sigmoid_hard": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


def random(*shape: int) -> np.ndarray:
    return f32(np.random.default_rng(list(shape)).normal(size=shape))


def given(gates: int, columns: int = HIDDEN) -> dict[str, np.ndarray]:
    return {
        "x": random(STEPS, BATCH, INPUT),
        "initial_h": random(BATCH, columns),
        "weight_ih": random(gates * HIDDEN, INPUT),
        "weight_hh": random(gates * HIDDEN, HIDDEN),
    }


def order(direction: str) -> list[int]:
    return list(range(STEPS)) if direction == "forward" else list(range(STEPS))[::-1]


def lstm_cell(x, h, c, w_x, w_h, bias, peephole, acts, clip):
    """One step for one sample; gates in order i, f, o, z."""
    gate, cell, out = acts
    x_i, x_f, x_o, x_z = np.split(w_x @ x + w_h @ h + bias, 4)
    p_i, p_f, p_o = np.split(peephole, 3)
    i, f, z = gate(x_i + p_i * c), gate(x_f + p_f * c), cell(x_z)
    c = np.clip(f * c + i * z, -clip, clip)
    return gate(x_o + p_o * c) * out(c), c


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize("extras", [(), ("bias",), ("bias", "peephole", "clip")])
@pytest.mark.parametrize(
    "names", [("sigmoid", "tanh", "tanh"), ("hard_sigmoid", "relu", "scaled_tanh"),
              ("sigmoid", "linear", "linear")],
)  # fmt: skip
def test_lstm(direction: str, sequence: bool, extras: tuple[str, ...], names: Any) -> None:
    options = {"bias": random(4 * HIDDEN), "peephole": random(3 * HIDDEN), "clip": np.float32(0.3)}
    inputs = given(4) | {"initial_c": random(HIDDEN, BATCH).T.copy()}
    inputs |= {name: options[name] for name in extras}
    states = []
    for sample in range(BATCH):
        h, c = inputs["initial_h"][sample], inputs["initial_c"][sample]
        for step in order(direction):
            h, c = lstm_cell(
                inputs["x"][step, sample], h, c, inputs["weight_ih"], inputs["weight_hh"],
                inputs.get("bias", np.zeros(4 * HIDDEN)),
                inputs.get("peephole", np.zeros(3 * HIDDEN)),
                [ACTIVATIONS[name] for name in names], inputs.get("clip", np.inf),
            )  # fmt: skip
            states.append((h, c))
    h, c = (f32([state[part] for state in states], BATCH, STEPS, HIDDEN) for part in (0, 1))
    outputs = h.swapaxes(0, 1)
    assert_golden(
        "lstm", outputs if sequence else outputs[-1:], h[:, -1], c[:, -1], direction=direction,
        output_sequence=sequence, recurrent_activation=names[0], cell_activation=names[1],
        activation=names[2], rtol=1e-5, **inputs,
    )  # fmt: skip


@pytest.mark.parametrize("sequence", [True, False])
def test_bidirectional_lstm_is_torchs(sequence: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.LSTM(INPUT, HIDDEN, bidirectional=True)
    x = random(STEPS, BATCH, INPUT)
    h = torch.from_numpy(random(2, BATCH, HIDDEN))
    c = h.flip(0) * 2
    with torch.no_grad():
        output, last = layer(torch.from_numpy(x), (h, c))
    weights = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}

    def ifoz(name: str) -> np.ndarray:
        i, f, z, o = np.split(weights[name], 4)
        return np.concatenate([i, f, o, z])

    def side_by_side(state: torch.Tensor) -> np.ndarray:
        return torch.cat(list(state), -1).numpy()

    finals = [side_by_side(state) for state in last]
    assert_golden(
        "lstm", output.numpy() if sequence else finals[0][None], *finals, x=x,
        initial_h=side_by_side(h), initial_c=side_by_side(c),
        weight_ih=ifoz("weight_ih_l0"), weight_hh=ifoz("weight_hh_l0"),
        bias=ifoz("bias_ih_l0") + ifoz("bias_hh_l0"),
        weight_ih_back=ifoz("weight_ih_l0_reverse"), weight_hh_back=ifoz("weight_hh_l0_reverse"),
        bias_back=ifoz("bias_ih_l0_reverse") + ifoz("bias_hh_l0_reverse"),
        direction="bidirectional", output_sequence=sequence, rtol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize("names", [("sigmoid", "tanh"), ("tanh", "sigmoid")])
@pytest.mark.parametrize("biased", [True, False])
def test_gru_resets_before_the_product(
    direction: str, sequence: bool, names: tuple[str, str], biased: bool
) -> None:
    """As coremltools' test on the real runtime has it; the definition's formula says otherwise."""
    inputs = given(3) | ({"bias": random(3 * HIDDEN)} if biased else {})
    gate, act = (ACTIVATIONS[name] for name in names)
    w_r, w_o, w_z = np.split(inputs["weight_ih"], 3)
    u_r, u_o, u_z = np.split(inputs["weight_hh"], 3)
    b_r, b_o, b_z = np.split(inputs.get("bias", np.zeros(3 * HIDDEN)), 3)
    states = []
    for sample in range(BATCH):
        h = inputs["initial_h"][sample]
        for step in order(direction):
            x = inputs["x"][step, sample]
            r, z = gate(w_r @ x + u_r @ h + b_r), gate(w_z @ x + u_z @ h + b_z)
            h = (1 - z) * act(w_o @ x + u_o @ (r * h) + b_o) + z * h
            states.append(h)
    outputs = f32(states, BATCH, STEPS, HIDDEN).swapaxes(0, 1)
    assert_golden(
        "gru", outputs if sequence else outputs[-1:], outputs[-1], direction=direction,
        output_sequence=sequence, recurrent_activation=names[0], activation=names[1],
        opset="iOS15", rtol=1e-5, **inputs,
    )  # fmt: skip


def test_gru_that_resets_after_the_product_is_torchs() -> None:
    torch.manual_seed(0)
    layer = torch.nn.GRU(INPUT, HIDDEN)
    inputs = given(3)
    with torch.no_grad():
        output, last = layer(
            torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["initial_h"]).unsqueeze(0)
        )

    def roz(name: str) -> np.ndarray:
        r, z, o = np.split(getattr(layer, name).detach().numpy(), 3)
        return np.concatenate([r, o, z])

    assert_golden(
        "gru", output.numpy(), last[0].numpy(), x=inputs["x"], initial_h=inputs["initial_h"],
        weight_ih=roz("weight_ih_l0"), weight_hh=roz("weight_hh_l0"), bias=roz("bias_hh_l0"),
        input_bias=roz("bias_ih_l0"), reset_after=True, output_sequence=True, opset="iOS18",
        rtol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid", "sigmoid_hard", "linear"])
def test_rnn(direction: str, sequence: bool, name: str) -> None:
    inputs = given(1) | {"bias": random(HIDDEN)}
    states = []
    for sample in range(BATCH):
        h = inputs["initial_h"][sample]
        for step in order(direction):
            mixed = inputs["weight_ih"] @ inputs["x"][step, sample] + inputs["weight_hh"] @ h
            h = ACTIVATIONS[name](mixed + inputs["bias"])
            states.append(h)
    outputs = f32(states, BATCH, STEPS, HIDDEN).swapaxes(0, 1)
    assert_golden("rnn", outputs if sequence else outputs[-1:], outputs[-1], direction=direction,
                  output_sequence=sequence, activation=name, rtol=1e-5, **inputs)  # fmt: skip
