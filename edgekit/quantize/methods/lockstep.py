"""A graph run on many samples at once, node by node: layers can be changed on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter

from edgekit.quantize.constants import WEIGHTED
from edgekit.quantize.precisions import base_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from torch.fx import GraphModule, Node

Tensors = dict[str, "Tensor"]
Values = dict["Node", Any]  # what the nodes of a graph gave for one sample
_ROOM = 2**28  # bytes, for the values of all samples


def layers(module: GraphModule, samples: Sequence[Tensors]) -> Iterator[tuple[Node, list[Values]]]:
    """Yield each layer that has just been computed, with the values that are still needed.

    What the layer gave may be replaced in them: the nodes after it read that.
    """
    interpreter = Interpreter(module)
    envs: list[Values] = [{} for _ in samples]
    nodes: list[Node] = [node for node in module.graph.nodes if node.op != "output"]
    last = {argument: node for node in nodes for argument in node.all_input_nodes}
    for node in nodes:
        for env, sample in zip(envs, samples, strict=True):
            interpreter.env = env
            is_input = node.op == "placeholder"
            env[node] = sample[str(node.target)] if is_input else interpreter.run_node(node)
        if base_name(node) in WEIGHTED:
            yield node, envs
        for argument in node.all_input_nodes:
            if last[argument] is node:
                for env in envs:
                    del env[argument]


def fitting(module: GraphModule, samples: Sequence[Tensors], most: int) -> Sequence[Tensors]:
    """Return as many samples as can be run at once in bounded memory, one at least."""
    watcher = _Watcher(module)
    order = [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]
    watcher.run(*(samples[0][name] for name in order))
    return samples[: max(1, min(most, _ROOM // max(1, watcher.peak)))]


class _Watcher(Interpreter):
    """Runs a graph and looks at how much its values take, those that nothing needs left out."""

    peak = 0

    def run_node(self, n: Node) -> Any:
        made = [v for k, v in self.env.items() if k.op != "get_attr"]
        sizes = [each.nbytes for each in made if isinstance(each, torch.Tensor)]
        self.peak = max(self.peak, sum(sizes))
        return super().run_node(n)
