"""What each layer costs in exactness, were it alone quantized, and what it saves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter

from edgekit.layers import layer_of
from edgekit.quantize.precisions import base_name, precision_of
from edgekit.quantize.quantizer import WEIGHTED, output_axis
from edgekit.quantize.within import Sensitivity

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

    from edgekit.quantize.watching import Ranges
    from edgekit.recipe import Recipe

Tensors = Mapping[str, "Tensor"]


def measure(
    module: GraphModule, recipe: Recipe, samples: Iterable[Tensors], ranges: Mapping[str, Ranges]
) -> tuple[Sensitivity, ...]:
    """Quantize the layers of a float graph one at a time; return them, the most harmful first."""
    groups: dict[str, list[Node]] = {}
    for node in module.graph.nodes:
        if base_name(node) in WEIGHTED and precision_of(node, recipe).is_static:
            groups.setdefault(layer_of(node), []).append(node)
    order = [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]
    inputs = [[sample[name] for name in order] for sample in samples]
    with torch.no_grad():
        wanted = [_floats(_Simulation(module, (), ranges).run(*each)) for each in inputs]
        power = sum(float(each.square().sum()) for each in wanted)
        found = []
        for layer, nodes in groups.items():
            simulation = _Simulation(module, nodes, ranges)
            results = (_floats(simulation.run(*each)) for each in inputs)
            pairs = zip(results, wanted, strict=True)
            error = sum(float((got - want).square().sum()) for got, want in pairs)
            sizes = [size_of(node) for node in nodes]
            noise = error / power if power else 0.0
            found.append(Sensitivity(layer, noise, *map(sum, zip(*sizes, strict=True))))
    return tuple(sorted(found, key=lambda each: -each.noise))


class _Simulation(Interpreter):
    """Runs a graph with the inputs and weights of some layers rounded to 8 bits."""

    def __init__(
        self, module: GraphModule, nodes: Iterable[Node], ranges: Mapping[str, Ranges]
    ) -> None:
        super().__init__(module)
        self._ranges = {node.name: ranges[node.name] for node in nodes}

    def run_node(self, n: Node) -> Any:
        if n.name not in self._ranges:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        value, weight, *rest = args
        low, high = (
            float(f) for f in (self._ranges[n.name][0].min(), self._ranges[n.name][1].max())
        )
        rounded = _rounded(value, low, high), _rounded_weight(weight, output_axis(n))
        target: Any = n.target
        return target(*rounded, *rest, **kwargs)


def _rounded(value: Tensor, low: float, high: float) -> Tensor:
    scale = max((high - low) / 255, 2.0**-24)
    zero = round(-low / scale)
    return ((value / scale).round() + zero).clamp(0, 255).sub(zero).mul(scale)


def _rounded_weight(weight: Tensor, axis: int | None) -> Tensor:
    others = [each for each in range(weight.dim()) if each != axis]
    scale = (weight.abs().amax(others, keepdim=True) / 127).clamp(min=2.0**-24)
    return (weight / scale).round() * scale


def _floats(outputs: Any) -> Tensor:
    """Return all floating-point outputs in one row."""
    leaves = outputs.values() if isinstance(outputs, dict) else outputs
    leaves = [leaves] if isinstance(leaves, torch.Tensor) else list(leaves)
    return torch.cat([leaf.flatten().double() for leaf in leaves if leaf.is_floating_point()])


def size_of(node: Node) -> tuple[int, int]:
    """Return how many multiplications and weights a layer has."""
    weight: Any = node.args[1]
    weights = math.prod(weight.meta["val"].shape)
    result = node.meta["val"].shape
    transposed = base_name(node).startswith("conv_transpose")
    source: Any = node.args[0]
    places = source.meta["val"].shape if transposed else result
    channel = len(result) - 1 if base_name(node) == "linear" else 1
    return weights * math.prod(places) // int(places[channel]), weights
