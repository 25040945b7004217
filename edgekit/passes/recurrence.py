"""The operator ``edgekit.recurrence``: one direction of one recurrent layer, all its steps.

PyTorch's own ``lstm``, ``gru`` and ``rnn_*`` are whole stacks of layers.  This is what is left of a
layer when everything that does not depend on the step before is taken out of it, and so what a
format's loop has to do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

KINDS = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}  # gates per unit, PyTorch's order


@torch.library.custom_op("edgekit::recurrence", mutates_args=())
def recurrence(
    kind: str,
    gates: Tensor,
    states: list[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    projection: Tensor | None,
    reverse: bool,
) -> list[Tensor]:
    """Run a layer over a sequence.

    Args:
        kind: One of `KINDS`.
        gates: What the inputs give the gates: steps, batch, gates times units.
        states: Batch, units: ``h``, and of an LSTM ``c``.
        weight: From ``h`` to the gates: gates times units, size of ``h``.
        bias: Added to that product.
        projection: From an LSTM's units to ``h``.
        reverse: Begin at the last step.

    Returns:
        ``h`` after each step, in the order of the inputs, and the last states.
    """
    hidden, *rest = (each.clone() for each in states)
    found: list[Tensor] = []
    for given in reversed(gates) if reverse else gates:
        hidden, rest = _step(kind, given, hidden, rest, weight, bias)
        if projection is not None:
            hidden = hidden @ projection.T
        found.append(hidden)
    steps = torch.stack(found[::-1] if reverse else found)
    return [steps, hidden.clone(), *rest]


@recurrence.register_fake
def _(
    kind: str,
    gates: Tensor,
    states: list[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    projection: Tensor | None,
    reverse: bool,
) -> list[Tensor]:
    del kind, weight, bias, projection, reverse
    steps = gates.new_empty((gates.shape[0], *states[0].shape))
    return [steps, *(torch.empty_like(each) for each in states)]


def _step(
    kind: str, given: Tensor, hidden: Tensor, rest: list[Tensor], weight: Tensor, bias: Any
) -> tuple[Tensor, list[Tensor]]:
    recurrent = torch.nn.functional.linear(hidden, weight, bias)
    if kind == "lstm":
        i, f, g, o = (given + recurrent).chunk(4, -1)
        cell = f.sigmoid() * rest[0] + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), [cell]
    if kind == "gru":
        (gr, gz, gn), (hr, hz, hn) = given.chunk(3, -1), recurrent.chunk(3, -1)
        r, z = (gr + hr).sigmoid(), (gz + hz).sigmoid()
        new = (gn + r * hn).tanh()
        return new + z * (hidden - new), []
    total = given + recurrent
    return total.tanh() if kind == "rnn_tanh" else total.relu(), []
