"""Recurrent layers in TFLite: a ``WHILE`` over the steps, whose body is one step.

TFLite's own sequence operators keep their state from one inference to the next, unless the app asks
the interpreter to forget it; and there is none for a GRU.  So `edgekit.recurrence` goes through the
converter as a custom operator, and `write_loops` writes a loop in its place.

A ``WHILE`` copies all that it carries at every step, the whole sequence too.  Where that is much,
the sequence is cut into blocks: a loop over blocks whose body is a loop over the steps of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgekit.formats._tflite_graph import BOOL, INT, Graph, forget_unused, packed, unpacked
from edgekit.passes.recurrence import KINDS

_CODE = "edgekit.recurrence"
# Bytes of a sequence from which blocks pay.  An LSTM on one thread of an EPYC: 50 steps of 64 units
# take 0.19 ms in one loop and 0.20 in blocks, 200 of 128 take 3.0 and 1.8, 1000 of 256 107 and 34.
_CARRIED = 2**18
Cell = Callable[[Graph, int, Sequence[int]], list[int]]  # body, row, states -> result, states


def write_loops(content: bytes) -> bytes:
    """Return the model with a loop in place of every custom operator that stands for one."""
    model = unpacked(content)
    codes = {
        index: code.customCode.decode()
        for index, code in enumerate(model.operatorCodes)
        if code.customCode and code.customCode.decode().startswith(_CODE)
    }
    if not codes:
        return content
    for each in list(model.subgraphs):
        graph = Graph(model, each)
        operators, each.operators = each.operators, []
        for op in operators:
            if op.opcodeIndex in codes:
                _Layer(graph, codes[op.opcodeIndex].split(":")[1:], op).write()
            else:
                each.operators.append(op)
    forget_unused(model)
    return packed(model)


class _Layer:
    """One custom operator: its parts, and the loop that is written for it."""

    def __init__(self, main: Graph, flags: list[str], op: Any) -> None:
        self.main = main
        self.kind, direction, states, *options = flags
        self.backward = direction == "backward"
        inputs, count = [int(i) for i in op.inputs], int(states)
        self.gates, self.states, rest = inputs[0], inputs[1 : 1 + count], inputs[1 + count :]
        self.weights = dict(zip(["weight", *options], rest, strict=True))
        self.results = [int(i) for i in op.outputs]
        if not all(main.is_constant(i) for i in self.weights.values()):
            raise NotImplementedError("the weights of a recurrent layer are computed")

    def write(self) -> None:
        """Write the loop, over blocks where the sequence is long, and reshape around it."""
        steps, *row = self.main.shape(self.gates)
        shape = self.main.shape(self.results[0])
        block = _block(steps, 4 * math.prod([*row, steps]) + 4 * math.prod(shape))
        if block is None:
            self._loop(self.main, self.gates, self.states, self.results, self._cell)
            return
        blocks = [steps // block, block]
        gates = self.main.reshaped(self.gates, [*blocks, *row])
        result = self.main.tensor([*blocks, *shape[1:]])
        self._loop(self.main, gates, self.states, [result, *self.results[1:]], self._block)
        self.main.reshape(result, self.results[0])

    def _loop(
        self,
        outer: Graph,
        gates: int,
        states: Sequence[int],
        results: list[int],
        cell: Cell,
        place: Sequence[int] = (),
        begin: int | None = None,
    ) -> None:
        """Write a loop over the first axis of `gates` into a graph.

        Args:
            outer: The graph.
            gates: What is looped over.
            states: Before the first step.
            results: What the loop gives: the results of all steps, and the last states.
            cell: Writes one step.
            place: Leading axes of size 1 that the result of all steps has.
            begin: A tensor like the result of all steps, of any values.
        """
        count = outer.shape(gates)[0]
        shape = outer.shape(results[0])
        first = outer.integer(count - 1 if self.backward else 0)
        begin = outer.zeros(shape) if begin is None else begin
        carried = [first, *states, begin, gates]
        types = [(outer.shape(i), outer.type(i)) for i in carried]

        condition = outer.new("condition", types)
        limit = condition.integer(0 if self.backward else count)
        going = condition.tensor([], BOOL)
        test = "GREATER_EQUAL" if self.backward else "LESS"
        condition.add(test, [condition.inputs[0], limit], [going])
        condition.give([going])

        body = outer.new("body", types)
        at, *before, written, given = body.inputs
        row = body.tensor(body.shape(given)[1:])
        body.add("GATHER", [given, at], [row], axis=0)
        result, *after = cell(body, row, before)
        slot = [*place, 1, *shape[1 + len(place) :]]
        if body.shape(result) != slot:
            result = body.reshaped(result, slot)
        zeros = [body.integer(0)] * (len(shape) - 1 - len(place))
        where = body.tensor([len(shape)], INT)
        lead = [body.integer(0)] * len(place)
        body.add("PACK", [*lead, at, *zeros], [where], valuesCount=len(shape), axis=0)
        joined = body.tensor(shape)
        body.add("DYNAMIC_UPDATE_SLICE", [written, result, where], [joined])
        following = body.tensor([], INT)
        body.add("ADD", [at, body.integer(-1 if self.backward else 1)], [following])
        body.give([following, *after, joined, given])

        ends = [outer.tensor([], INT), *results[1:], results[0], outer.like(gates)]
        outer.add(
            "WHILE",
            carried,
            ends,
            condSubgraphIndex=condition.number,
            bodySubgraphIndex=body.number,
        )

    def _block(self, body: Graph, row: int, states: Sequence[int]) -> list[int]:
        """Write the loop over the steps of one block."""
        size = [1, body.shape(row)[0], *body.shape(states[0])]
        results = [body.tensor(size), *(body.like(state) for state in states)]
        begin = body.constant(np.zeros(size, np.float32))
        self._loop(body, row, states, results, self._cell, (1,), begin)
        return results

    def _cell(self, body: Graph, row: int, states: Sequence[int]) -> list[int]:
        """Write one step; `edgekit.passes.recurrence` has it in PyTorch."""
        weights = {k: body.copied(self.main, index) for k, index in self.weights.items()}
        hidden = states[0]
        product = body.like(row)
        body.linear(hidden, weights["weight"], weights.get("bias", -1), product)
        if self.kind == "gru":
            return [self._gru(body, row, product, hidden)] * 2
        total = body.apply("ADD", row, product)
        if self.kind != "lstm":
            return [body.apply("TANH" if self.kind == "rnn_tanh" else "RELU", total)] * 2
        gates = body.split(total, KINDS["lstm"])
        i, f, o = (body.apply("LOGISTIC", gates[k]) for k in (0, 1, 3))
        new = body.apply("MUL", i, body.apply("TANH", gates[2]))
        cell = body.apply("ADD", body.apply("MUL", f, states[1]), new)
        result = body.apply("MUL", o, body.apply("TANH", cell))
        if "projection" in weights:
            projected = body.like(hidden)
            body.linear(result, weights["projection"], -1, projected)
            result = projected
        return [result, result, cell]

    def _gru(self, body: Graph, row: int, product: int, hidden: int) -> int:
        given, within = (body.split(each, KINDS["gru"]) for each in (row, product))
        r, z = (body.apply("LOGISTIC", body.apply("ADD", given[k], within[k])) for k in (0, 1))
        new = body.apply("TANH", body.apply("ADD", given[2], body.apply("MUL", r, within[2])))
        back = body.apply("MUL", z, body.apply("SUB", hidden, new))
        return body.apply("ADD", new, back)


def _block(steps: int, size: int) -> int | None:
    """Return how many steps a block has: about the root of all; None where one loop will do."""
    if size < _CARRIED:
        return None
    root = math.sqrt(steps)
    divisors = [d for d in range(2, steps) if steps % d == 0 and root / 4 <= d <= 4 * root]
    return min(divisors, key=lambda d: abs(math.log(d / root)), default=None)
