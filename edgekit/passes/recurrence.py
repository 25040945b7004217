"""The operator ``edgekit.recurrence``: one direction of recurrent layers, all their steps.

PyTorch's own ``lstm``, ``gru`` and ``rnn_*`` are whole stacks of layers.  This is what is left of
some of them when everything that depends on the inputs alone is taken out, and so what a format's
loop has to do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

KINDS = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}  # gates per unit, PyTorch's order
ROLES = ("weight", "bias", "projection", "into", "into_bias")  # of its lists, in their order


@torch.library.custom_op("edgekit::recurrence", mutates_args=())
def recurrence(
    kind: str,
    gates: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    biases: list[Tensor],
    projections: list[Tensor],
    between: list[Tensor],
    between_biases: list[Tensor],
    reverse: bool,
) -> list[Tensor]:
    """Run layers over a sequence, each on the steps of the one before.

    Args:
        kind: One of `KINDS`.
        gates: What the inputs give the gates of the first layer: steps, batch, gates times units.
        states: Of each layer ``h``, and of an LSTM ``c``: batch, units.
        weights: From ``h`` to the gates, one for each layer: gates times units, size of ``h``.
        biases: Added to that product; none or one for each layer.
        projections: From an LSTM's units to ``h``; none or one for each layer.
        between: From one layer's ``h`` to the gates of the next.
        between_biases: Added to that product; none or as many.
        reverse: Begin at the last step.

    Returns:
        ``h`` of the last layer after each step, in the order of the inputs, and the last states.
    """
    now = [each.clone() for each in states]
    count = len(states) // len(weights)
    found: list[Tensor] = []
    for given in reversed(gates) if reverse else gates:
        for layer, weight in enumerate(weights):
            if layer:
                bias = _at(between_biases, layer - 1)
                given = functional.linear(now[(layer - 1) * count], between[layer - 1], bias)
            place = slice(layer * count, (layer + 1) * count)
            now[place] = _step(
                kind, given, now[place], weight, _at(biases, layer), _at(projections, layer)
            )
        found.append(now[-count])
    steps = torch.stack(found[::-1] if reverse else found)
    return [steps, *(each.clone() for each in now)]


@recurrence.register_fake
def _(
    kind: str,
    gates: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    biases: list[Tensor],
    projections: list[Tensor],
    between: list[Tensor],
    between_biases: list[Tensor],
    reverse: bool,
) -> list[Tensor]:
    del kind, weights, biases, projections, between, between_biases, reverse
    steps = gates.new_empty((gates.shape[0], *states[0].shape))
    return [steps, *(torch.empty_like(each) for each in states)]


def _at(tensors: list[Tensor], layer: int) -> Tensor | None:
    return tensors[layer] if tensors else None


def _step(
    kind: str,
    given: Tensor,
    states: list[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    projection: Tensor | None,
) -> list[Tensor]:
    """Return a layer's states after a step."""
    hidden = states[0]
    recurrent = functional.linear(hidden, weight, bias)
    if kind == "lstm":
        i, f, g, o = (given + recurrent).chunk(4, -1)
        cell = f.sigmoid() * states[1] + i.sigmoid() * g.tanh()
        result = o.sigmoid() * cell.tanh()
        return [result if projection is None else result @ projection.T, cell]
    if kind == "gru":
        (gr, gz, gn), (hr, hz, hn) = given.chunk(3, -1), recurrent.chunk(3, -1)
        r, z = (gr + hr).sigmoid(), (gz + hz).sigmoid()
        new = (gn + r * hn).tanh()
        return [new + z * (hidden - new)]
    total = given + recurrent
    return [total.tanh() if kind == "rnn_tanh" else total.relu()]
