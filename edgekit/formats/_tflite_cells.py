"""A step of recurrent layers in TFLite's operators; `edgekit.passes.recurrence` is its PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.formats._tflite_graph import Graph, name_of
from edgekit.passes.recurrence import KINDS

_BIASES = {"weight": "bias", "into": "into_bias"}


@dataclass(frozen=True)
class Cells:
    """Layers of one kind, and where their weights are.

    Attributes:
        main: The graph that has the weights.
        kind: One of `KINDS`.
        layers: How many there are.
        weights: By role and layer, as ``weight0``.
        makers: What gives each tensor of that graph.
    """

    main: Graph
    kind: str
    layers: int
    weights: Mapping[str, int]
    makers: Mapping[int, Any]

    def of(self, states: Sequence[int], layer: int) -> Sequence[int]:
        """Return a layer's own states: ``h``, and of an LSTM ``c``."""
        count = len(states) // self.layers
        return states[layer * count : (layer + 1) * count]

    def all(self, graph: Graph, row: int, states: Sequence[int]) -> list[int]:
        """Write one step of the layers, one after another; return the last ``h`` and all states."""
        after: list[int] = []
        last: list[int] = []
        for layer in range(self.layers):
            if layer:
                row = self.product(graph, last[0], "into", layer - 1)
            last = self.one(graph, layer, row, self.of(states, layer))
            after += last
        return [last[0], *after]

    def one(self, graph: Graph, layer: int, row: int, states: Sequence[int]) -> list[int]:
        """Write one step of one layer; return its states."""
        product = self.product(graph, states[0], "weight", layer)
        result, *rest = self._gates(graph, row, product, states)
        if f"projection{layer}" in self.weights:
            result = self.product(graph, result, "projection", layer)
        return [result, *rest]

    def together(self, graph: Graph, row: int, states: Sequence[int]) -> list[int]:
        """Write one step of all layers at once, each from the states that all had before.

        Their states are rows of the same tensors.  Returns the last layer's ``h`` before the step,
        and the states after it.
        """
        hidden = graph.parts(states[0], self.layers)
        rows = [self.product(graph, h, "into", k) for k, h in enumerate(hidden[:-1])]
        products = [self.product(graph, h, "weight", k) for k, h in enumerate(hidden)]
        given, product = graph.joined([row, *rows]), graph.joined(products)
        return [hidden[-1], *self._gates(graph, given, product, states)]

    def product(self, graph: Graph, x: int, role: str, layer: int) -> int:
        """Multiply by a weight of a layer, and add the bias that goes with it."""
        weight, bias = (self.weights.get(f"{r}{layer}") for r in (role, _BIASES.get(role)))
        assert weight is not None
        result = graph.tensor([*graph.shape(x)[:-1], self.main.shape(weight)[0]])
        held = [-1 if each is None else self._weight(graph, each) for each in (weight, bias)]
        graph.linear(x, held[0], held[1], result)
        return result

    def _gates(self, graph: Graph, row: int, product: int, states: Sequence[int]) -> list[int]:
        """Write what follows the products; return the states, ``h`` before its projection."""
        if self.kind == "gru":
            return [_gru(graph, row, product, states[0])]
        total = graph.apply("ADD", row, product)
        if self.kind != "lstm":
            return [graph.apply("TANH" if self.kind == "rnn_tanh" else "RELU", total)]
        gates = graph.split(total, KINDS["lstm"])
        i, f, o = (graph.apply("LOGISTIC", gates[k]) for k in (0, 1, 3))
        new = graph.apply("MUL", i, graph.apply("TANH", gates[2]))
        cell = graph.apply("ADD", graph.apply("MUL", f, states[1]), new)
        return [graph.apply("MUL", o, graph.apply("TANH", cell)), cell]

    def _weight(self, graph: Graph, index: int) -> int:
        """Copy a weight into a graph, and how it becomes integers and float again if it does."""
        if graph is self.main:
            return index
        if self.main.is_constant(index):
            return graph.copied(self.main, index)
        maker = self.makers[index]
        kind = name_of(self.main.model, maker)
        if kind not in {"QUANTIZE", "DEQUANTIZE"}:
            raise NotImplementedError("the weights of a recurrent layer are computed")
        source, result = self._weight(graph, int(maker.inputs[0])), graph.copied(self.main, index)
        graph.add(kind, [source], [result])
        return result


def _gru(graph: Graph, row: int, product: int, hidden: int) -> int:
    given, within = (graph.split(each, KINDS["gru"]) for each in (row, product))
    r, z = (graph.apply("LOGISTIC", graph.apply("ADD", given[k], within[k])) for k in (0, 1))
    new = graph.apply("TANH", graph.apply("ADD", given[2], graph.apply("MUL", r, within[2])))
    back = graph.apply("MUL", z, graph.apply("SUB", hidden, new))
    return graph.apply("ADD", new, back)
