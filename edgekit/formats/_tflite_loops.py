"""Recurrent layers in TFLite: a ``WHILE`` over the steps, whose body is one step.

TFLite's own sequence operators keep their state from one inference to the next, unless the app asks
the interpreter to forget it; and there is none for a GRU.  So `edgekit.recurrence` goes through the
converter as a custom operator, and `write_loops` writes a loop in its place.

A ``WHILE`` copies at every step all that a step may change, and so the results of all steps.  Where
only the last state is read, they are not kept.  Where they are many, the sequence is cut into
blocks: a loop over blocks whose body is a loop over the steps of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.formats._tflite_cells import Cells
from edgekit.formats._tflite_graph import BOOL, INT, Graph, forget_unused, packed, unpacked

_CODE = "edgekit.recurrence"
# Bytes of the results of all steps from which blocks pay.  An LSTM on one thread of an EPYC: 50
# steps of 64 units take 0.14 ms in one loop and 0.15 in blocks, 100 of 64 take 0.46 and 0.44, 200
# of 128 take 2.8 and 1.8, 1000 of 256 take 83 and 30.
_CARRIED = 2**14
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
        read = {int(i) for op in operators for i in op.inputs} | set(map(int, each.outputs))
        makers = {int(i): op for op in operators for i in op.outputs}
        for op in operators:
            if op.opcodeIndex in codes:
                _Layers(graph, codes[op.opcodeIndex].split(":")[1:], op, read, makers).write()
            else:
                each.operators.append(op)
    forget_unused(model)
    return packed(model)


class _Layers:
    """One custom operator: its parts, and the loop that is written for it."""

    def __init__(
        self,
        main: Graph,
        flags: list[str],
        op: Any,
        read: Collection[int],
        makers: Mapping[int, Any],
    ) -> None:
        self.main = main
        kind, direction, states, *names = flags
        self.backward = direction == "backward"
        inputs, count = [int(i) for i in op.inputs], int(states)
        self.gates, self.states, rest = inputs[0], inputs[1 : 1 + count], inputs[1 + count :]
        weights = dict(zip(names, rest, strict=True))
        self.cells = Cells(main, kind, sum("weight" in n for n in names), weights, makers)
        self.results = [int(i) for i in op.outputs]
        self.keeps = self.results[0] in read  # the results of all steps

    def write(self) -> None:
        """Write the loop, over blocks where the sequence is long, and reshape around it."""
        steps, *row = self.main.shape(self.gates)
        shape = self.main.shape(self.results[0])
        block = _block(steps, 4 * math.prod(shape)) if self.keeps else None
        if self._are_twins(steps):
            self._write_twins()
        elif block is None:
            self._loop(self.main, self.gates, self.states, self.results, self.cells.all)
        else:
            blocks = [steps // block, block]
            gates = self.main.reshaped(self.gates, [*blocks, *row])
            result = self.main.tensor([*blocks, *shape[1:]])
            self._loop(self.main, gates, self.states, [result, *self.results[1:]], self._block)
            self.main.reshape(result, self.results[0])

    def _are_twins(self, steps: int) -> bool:
        """Whether these are two layers of equal size, and nothing but their last states is asked.

        With more to bring in and out, there would be more than thirty operators per layer.
        """
        sizes = {tuple(self.main.shape(state)) for state in self.states}
        given = not all(map(self.main.is_constant, self.states))
        plain = steps > 1 and not (self.backward or self.keeps or given)
        return plain and self.cells.layers == 2 and len(sizes) == 1

    def _write_twins(self) -> None:
        """Write a loop for two layers in which the second is one step behind the first.

        Then neither waits for the other, and one operator serves the gates of both.  The first
        layer's first step comes before the loop, the second layer's last step behind it.
        """
        main, cells = self.main, self.cells
        row = main.tensor(main.shape(self.gates)[1:])
        main.add("GATHER", [self.gates, main.integer(0)], [row], axis=0)
        first = cells.one(main, 0, row, cells.of(self.states, 0))
        begin = [main.joined(pair) for pair in zip(first, cells.of(self.states, 1), strict=True)]
        ends = [main.like(state) for state in begin]
        self._loop(main, self.gates, begin, [self.results[0], *ends], cells.together, skipped=1)
        below, above = zip(*(main.parts(end, 2) for end in ends), strict=True)
        last = cells.one(main, 1, cells.product(main, below[0], "into", 0), above)
        for found, wanted in zip((*below, *last), self.results[1:], strict=True):
            main.rename(found, wanted)

    def _loop(
        self,
        outer: Graph,
        gates: int,
        states: Sequence[int],
        results: list[int],
        cell: Cell,
        axis: int = 0,
        begin: int | None = None,
        skipped: int = 0,
    ) -> None:
        """Write a loop over the first axis of `gates` into a graph.

        Args:
            outer: The graph.
            gates: What is looped over.
            states: Before the first step.
            results: What the loop gives: the results of all steps, and the last states.
            cell: Writes one step.
            axis: Of the steps, in the result of all steps.
            begin: A tensor like the result of all steps, of any values.
            skipped: How many steps the loop leaves out, of those that would come first.
        """
        count = outer.shape(gates)[0]
        first = outer.integer(count - 1 - skipped if self.backward else skipped)
        carried = [first, *states, gates]
        if self.keeps:
            begin = outer.zeros(outer.shape(results[0])) if begin is None else begin
            carried.insert(-1, begin)
        types = [(outer.shape(i), outer.type(i)) for i in carried]

        condition = outer.new("condition", types)
        limit = condition.integer(0 if self.backward else count)
        going = condition.tensor([], BOOL)
        test = "GREATER_EQUAL" if self.backward else "LESS"
        condition.add(test, [condition.inputs[0], limit], [going])
        condition.give([going])

        body = outer.new("body", types)
        at, *before = body.inputs[: 1 + len(states)]
        given = body.inputs[-1]
        row = body.tensor(body.shape(given)[1:])
        body.add("GATHER", [given, at], [row], axis=0)
        result, *after = cell(body, row, before)
        if self.keeps:
            after.append(self._kept(body, body.inputs[-2], result, at, axis))
        following = body.tensor([], INT)
        body.add("ADD", [at, body.integer(-1 if self.backward else 1)], [following])
        body.give([following, *after, given])

        kept = results[:1] if self.keeps else []
        ends = [outer.tensor([], INT), *results[1:], *kept, outer.like(gates)]
        outer.add(
            "WHILE",
            carried,
            ends,
            condSubgraphIndex=condition.number,
            bodySubgraphIndex=body.number,
        )

    def _kept(self, body: Graph, before: int, result: int, at: int, axis: int) -> int:
        """Put one step's result with those before it."""
        shape = body.shape(before)
        slot = [*shape[:axis], 1, *shape[axis + 1 :]]
        if body.shape(result) != slot:
            result = body.reshaped(result, slot)
        if shape == slot:
            return result
        joined = body.tensor(shape)
        if 4 * math.prod(shape) < _CARRIED:
            self._shift(body, before, result, joined, axis)
            return joined
        where = body.tensor([len(shape)], INT)
        place = [at if each == axis else body.integer(0) for each in range(len(shape))]
        body.add("PACK", place, [where], valuesCount=len(shape), axis=0)
        body.add("DYNAMIC_UPDATE_SLICE", [before, result, where], [joined])
        return joined

    def _shift(self, body: Graph, before: int, result: int, joined: int, axis: int) -> None:
        """Drop the result that is longest there, and add the new one at the other end.

        That copies once more than a write to its place does, but delegates have these operators.
        """
        sizes = body.shape(before)
        sizes[axis] -= 1
        begin = [int(each == axis and not self.backward) for each in range(len(sizes))]
        rest = body.tensor(sizes)
        body.add("SLICE", [before, body.integer(begin), body.integer(sizes)], [rest])
        parts = [result, rest] if self.backward else [rest, result]
        body.add("CONCATENATION", parts, [joined], axis=axis)

    def _block(self, body: Graph, row: int, states: Sequence[int]) -> list[int]:
        """Write the loop over the steps of one block."""
        ends = [body.like(state) for state in states]
        size = [1, body.shape(row)[0], *body.shape(states[0])]
        begin = body.constant(np.zeros(size, np.float32))
        results = [body.tensor(size), *ends]
        self._loop(body, row, states, results, self.cells.all, 1, begin)
        return results


def _block(steps: int, size: int) -> int | None:
    """Return how many steps a block has: about the root of all; None where one loop will do."""
    if size < _CARRIED:
        return None
    root = math.sqrt(steps)
    divisors = [d for d in range(2, steps) if steps % d == 0 and root / 4 <= d <= 4 * root]
    return min(divisors, key=lambda d: abs(math.log(d / root)), default=None)
