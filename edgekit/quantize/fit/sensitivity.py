"""What each layer costs in exactness, were it alone in another precision, and how large it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter

from edgekit.layers import layer_of
from edgekit.quantize.constants import LOOKUP, weight_of
from edgekit.quantize.precisions import base_name, precision_of
from edgekit.quantize.quantizer import fused_activation, output_axis

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Graph, GraphModule, Node

    from edgekit.quantize.fit.ladder import Rung
    from edgekit.quantize.watching import Ranges
    from edgekit.recipe import Recipe

Tensors = Mapping[str, "Tensor"]


def layers(graph: Graph, recipe: Recipe) -> dict[str, list[Node]]:
    """Return the layers that a recipe makes in integers: their nodes by path."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if weight_of(node) is not None and precision_of(node, recipe).is_static:
            found.setdefault(layer_of(node), []).append(node)
    return found


def measure(
    module: GraphModule,
    rungs: Mapping[str, Sequence[Rung]],
    samples: Iterable[Tensors],
    ranges: Mapping[str, Ranges],
    groups: Mapping[str, Sequence[Node]],
) -> dict[str, dict[str, float]]:
    """Give the layers of a float graph other precisions, one at a time.

    Args:
        module: The float graph.
        rungs: The precisions to try, by layer.
        samples: Inputs.
        ranges: Of what layers read.
        groups: The nodes of each layer.

    Returns:
        Power of the outputs' error over that of the outputs, by layer and by name of precision; a
        layer whose values exceed float16 has no figure for what computes in it.
    """
    order = [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]
    error: dict[tuple[str, str], float] = {}
    power = 0.0
    with torch.no_grad():
        for sample in samples:
            inputs = [sample[name] for name in order]
            plain = Interpreter(module, garbage_collect_values=False)
            wanted = _floats(plain.run(*inputs))
            power += float(wanted.square().sum())
            for layer, nodes in groups.items():
                kept = _before(nodes, plain.env)
                for rung in rungs[layer]:
                    got = _floats(
                        _Simulation(module, nodes, rung, ranges).run(
                            *inputs, initial_env=dict(kept)
                        )
                    )
                    key = layer, rung.name
                    error[key] = error.get(key, 0.0) + float((got - wanted).square().sum())
    found: dict[str, dict[str, float]] = {layer: {} for layer in groups}
    for (layer, name), each in error.items():
        if math.isfinite(each):
            found[layer][name] = each / power if power else 0.0
    return found


def _before(nodes: Sequence[Node], values: Mapping[Node, Any]) -> dict[Node, Any]:
    """Return the values of a graph that do not depend on some nodes."""
    after = set(nodes)
    for node in nodes[0].graph.nodes:
        if any(each in after for each in node.all_input_nodes):
            after.add(node)
    return {node: value for node, value in values.items() if node not in after}


class _Simulation(Interpreter):
    """Runs a graph with one layer in another precision: what it reads, its weights, its result."""

    def __init__(
        self,
        module: GraphModule,
        nodes: Iterable[Node],
        rung: Rung,
        ranges: Mapping[str, Ranges],
    ) -> None:
        super().__init__(module)
        self._rung = rung
        layers = [node for node in nodes if base_name(node) != LOOKUP]  # tables compute nothing
        self._nodes = set(nodes)
        self._last = {fused_activation(node) or node for node in layers}
        self._ranges = {
            node: (float(low.min()), float(high.max()))
            for node in layers
            for low, high in [ranges[node.name]]
        }

    def run_node(self, n: Node) -> Any:
        result = self._rounded_layer(n) if n in self._nodes else super().run_node(n)
        if n not in self._last:
            return result
        low, high = min(float(result.min()), 0.0), max(float(result.max()), 0.0)
        return _rounded(result, self._rung.activations, low, high)

    def _rounded_layer(self, n: Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        target: Any = n.target
        if base_name(n) == LOOKUP:
            table, *rest = args
            return target(_rounded_weight(table, self._rung.weights, 0), *rest, **kwargs)
        value, weight, *rest = args
        return target(
            _rounded(value, self._rung.activations, *self._ranges[n]),
            _rounded_weight(weight, self._rung.weights, output_axis(n)),
            *rest,
            **kwargs,
        )


def _rounded(value: Tensor, kind: str, low: float, high: float) -> Tensor:
    if kind == "float32":
        return value
    if kind == "float16":
        return _halved(value)
    if kind == "int16":
        scale = max(-low, high, 2.0**-24) / 32767
        return (value / scale).round().clamp(-32767, 32767) * scale
    scale = max((high - low) / 255, 2.0**-24)
    zero = round(-low / scale)
    return ((value / scale).round() + zero).clamp(0, 255).sub(zero).mul(scale)


def _rounded_weight(weight: Tensor, kind: str, axis: int | None) -> Tensor:
    if kind != "int8":
        return _halved(weight) if kind == "float16" else weight
    others = [each for each in range(weight.dim()) if each != axis]
    scale = (weight.abs().amax(others, keepdim=True) / 127).clamp(min=2.0**-24)
    return (weight / scale).round() * scale


def _halved(value: Tensor) -> Tensor:
    return value.half().to(value.dtype)


def _floats(outputs: Any) -> Tensor:
    """Return all floating-point outputs in one row."""
    leaves = outputs.values() if isinstance(outputs, dict) else outputs
    leaves = [leaves] if isinstance(leaves, torch.Tensor) else list(leaves)
    return torch.cat([leaf.flatten().double() for leaf in leaves if leaf.is_floating_point()])


def size_of(node: Node) -> tuple[int, int]:
    """Return how many multiplications and weights a layer has."""
    weights = math.prod(weight_of(node).meta["val"].shape)
    if base_name(node) == LOOKUP:
        return 0, weights
    result = node.meta["val"].shape
    transposed = base_name(node).startswith("conv_transpose")
    source: Any = node.args[0]
    places = source.meta["val"].shape if transposed else result
    channel = len(result) - 1 if base_name(node) == "linear" else 1
    return weights * math.prod(places) // int(places[channel]), weights
