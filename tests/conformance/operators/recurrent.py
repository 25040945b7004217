"""Recurrent layers: kinds, layers, directions, states in and out, single cells."""

import torch
from torch import Tensor, nn

from tests.conformance.operators.values import normal

X = normal(5, 2, 4)  # steps, batch, features


class LastStep(nn.Module):
    """A recurrent layer of which the last step alone is used."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0][:, -1]


class WithState(nn.Module):
    """An LSTM that is given its state and returns the next one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps, (h, c) = self.layer(x, (h, c))
        return steps, h, c


class Steps(nn.Module):
    """A cell that is called once per step, in Python."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        steps = []
        for step in x.unbind(0):
            h = self.cell(step, h)
            steps.append(h)
        return torch.stack(steps)


CASES = {
    "lstm": (nn.LSTM(4, 6), X),
    "lstm, batch first": (nn.LSTM(4, 6, batch_first=True), normal(2, 5, 4)),
    "lstm, two layers": (nn.LSTM(4, 6, num_layers=2), X),
    "lstm, both directions": (nn.LSTM(4, 6, bidirectional=True), X),
    "lstm, both directions, two layers, batch first": (
        nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True),
        normal(2, 5, 4),
    ),
    "lstm, without bias": (nn.LSTM(4, 6, bias=False), X),
    "lstm, state in and out": (WithState(nn.LSTM(4, 6)), X, normal(1, 2, 6), normal(1, 2, 6)),
    "lstm, state in and out, two layers": (
        WithState(nn.LSTM(4, 6, num_layers=2)),
        *(X, normal(2, 2, 6), normal(2, 2, 6)),
    ),
    "lstm, state in and out, both directions": (
        WithState(nn.LSTM(4, 6, bidirectional=True)),
        *(X, normal(2, 2, 6), normal(2, 2, 6)),
    ),
    "lstm, one step": (
        WithState(nn.LSTM(4, 6, batch_first=True)),
        *(normal(1, 1, 4), normal(1, 1, 6), normal(1, 1, 6)),
    ),
    "lstm, unbatched": (nn.LSTM(4, 6), normal(5, 4)),
    "lstm, projected": (nn.LSTM(4, 6, proj_size=3), X),
    "lstm, last step": (LastStep(nn.LSTM(4, 6, batch_first=True)), normal(1, 40, 4)),
    "lstm, same size": (nn.LSTM(5, 5, num_layers=2), normal(3, 1, 5)),
    "gru": (nn.GRU(4, 6), X),
    "gru, batch first": (nn.GRU(4, 6, batch_first=True), normal(2, 5, 4)),
    "gru, two layers": (nn.GRU(4, 6, num_layers=2), X),
    "gru, both directions": (nn.GRU(4, 6, bidirectional=True), X),
    "gru, without bias": (nn.GRU(4, 6, bias=False), X),
    "gru, state in and out": (nn.GRU(4, 6), X, normal(1, 2, 6)),
    "gru, state in and out, both directions": (
        nn.GRU(4, 6, bidirectional=True, num_layers=2, batch_first=True),
        *(normal(2, 5, 4), normal(4, 2, 6)),
    ),
    "gru, last step": (LastStep(nn.GRU(4, 6, batch_first=True)), normal(1, 40, 4)),
    "rnn, tanh": (nn.RNN(4, 6), X),
    "rnn, relu": (nn.RNN(4, 6, nonlinearity="relu"), X),
    "rnn, two layers, both directions": (nn.RNN(4, 6, num_layers=2, bidirectional=True), X),
    "rnn, state in and out": (nn.RNN(4, 6, batch_first=True), normal(2, 5, 4), normal(1, 2, 6)),
    "lstm cell": (
        lambda x, h, c, *w: torch.lstm_cell(x, (h, c), *w),
        *(normal(2, 4), normal(2, 6), normal(2, 6)),
        *(normal(24, 4), normal(24, 6), normal(24), normal(24)),
    ),
    "gru cell": (nn.GRUCell(4, 6), normal(2, 4), normal(2, 6)),
    "rnn cell": (nn.RNNCell(4, 6, nonlinearity="relu"), normal(2, 4), normal(2, 6)),
    "gru cell, in a loop": (Steps(nn.GRUCell(4, 6)), normal(3, 2, 4), normal(2, 6)),
}
