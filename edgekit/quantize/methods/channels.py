"""Which channels of a graph may be rescaled, and which of them only together.

A layer's output channel can be divided by a number, and whatever reads it multiplied by the same
number, if all that lies between keeps channels apart and passes a factor on: a ReLU, a pool, a
reshape, a sum whose other side is rescaled as well.  To find out, every channel that a constant
gives gets a label, and the labels go through the graph as values do.  Where two meet in a sum, they
are one from then on.  Where one meets an operator that does not pass a factor on, or an output, it
is one with label 0: the channels that stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import Interpreter

from edgekit.quantize.constants import WEIGHTED, readers_of
from edgekit.quantize.methods.labels import Channels, Place, along, shaped
from edgekit.quantize.methods.passing import rule_of
from edgekit.quantize.precisions import base_name

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

# Norms, and where their weight is among the arguments; what they read stays as it is.
NORMS = {"layer_norm": 2, "rms_norm": 2, "group_norm": 2, "batch_norm": 1, "instance_norm": 1}
_UNREAD = {"sym_size", "size"}  # these read shapes only


def trace(module: GraphModule, sample: dict[str, Tensor]) -> Channels:
    """Run a float graph once and label its channels."""
    order = [node.target for node in module.graph.nodes if node.op == "placeholder"]
    tracer = _Tracer(module)
    tracer.run(*(sample[str(name)] for name in order))
    return tracer.channels


class _Tracer(Interpreter):
    """Runs a graph, with a label for each element of each value beside it."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.channels = Channels()
        self.labels: dict[Node, Any] = {}  # None, or absent: all fixed
        self._readers = readers_of(module)

    def run_node(self, n: Node) -> Any:
        arguments = {each: self.env[each] for each in n.all_input_nodes}
        result = super().run_node(n)
        self.labels[n] = self._labels(n, arguments, result)
        for each in self.user_to_last_uses.get(n, ()):
            self.labels.pop(each, None)
        return result

    def _labels(self, node: Node, values: dict[Node, Any], result: Any) -> Any:
        name = base_name(node)
        if name in WEIGHTED | NORMS.keys():
            return self._layer(node, values, result)
        if node.op == "get_attr":
            return self._constant(node, result)
        if all(self.labels.get(each) is None for each in values) or name in _UNREAD:
            return None
        rule = rule_of(node)
        made = rule(self, node, values, result) if rule is not None else NotImplemented
        if made is NotImplemented:
            for each in values:
                self.fix(each)
            return None
        return made

    def fix(self, value: Node) -> None:
        """Fix all channels of a value."""
        found = self.labels.get(value)
        for each in found if isinstance(found, tuple) else (found,):
            if each is not None:
                self.channels.fix(each)

    def is_free(self, value: Any) -> bool:
        """Whether a value is a constant that nothing else reads."""
        is_constant = getattr(value, "op", "") == "get_attr"
        return is_constant and self._readers[str(value.target)] == 1

    def _constant(self, node: Node, value: Any) -> Tensor | None:
        """Label a constant that has one value per channel: what is computed with may be scaled."""
        if not (isinstance(value, Tensor) and value.dtype is torch.float32 and self.is_free(node)):
            return None
        (reader,) = node.users
        axes = [axis for axis, size in enumerate(value.shape) if size > 1]
        if len(axes) != 1 or base_name(reader) not in {"mul", "add", "sub"}:
            return None
        return self._spread(node, axes[0], self.channels.new(value.numel()), value)

    def _layer(self, node: Node, values: dict[Node, Any], result: Any) -> Tensor | None:
        """Let a layer's weight take up the factors of what it reads; label what it gives."""
        source: Any = node.args[0]
        weight, bias = _weights(node)
        free = self.is_free(weight)
        if self.labels.get(source) is not None:
            axis = channel_axis(node, values[source])
            read = (
                along(self.labels[source], axis) if free and base_name(node) in WEIGHTED else None
            )
            if read is None:
                self.fix(source)
            else:
                self.channels.readers.append(Place(node, axis, read))
        for each in node.all_input_nodes[1:]:
            self.fix(each)
        if not free or not (bias is None or self.is_free(bias)):
            return None
        axis = channel_axis(node, result)
        labels = self.channels.new(result.shape[axis])
        if base_name(node) in WEIGHTED:
            self.channels.sources.append(Place(node, axis, labels))
        elif values[weight].dim() == 1:
            self.channels.sources.append(Place(weight, 0, labels))
        else:
            return None
        if bias is not None:
            self.channels.sources.append(Place(bias, 0, labels))
        return shaped(labels, axis, result)

    def _spread(self, node: Node, axis: int, labels: Tensor, value: Tensor) -> Tensor:
        self.channels.sources.append(Place(node, axis, labels))
        return shaped(labels, axis, value)


def channel_axis(node: Node, value: Tensor) -> int:
    """Return the axis of the channels in what a layer reads or gives."""
    name = base_name(node)
    if name in {"linear", "layer_norm", "rms_norm"}:
        return value.dim() - 1
    return value.dim() - int(name[-2]) - 1 if name in WEIGHTED else 1


def _weights(node: Node) -> tuple[Any, Any]:
    """Return the nodes of a layer's weight and bias."""
    at: int = NORMS.get(base_name(node), 1)
    has_bias = base_name(node) != "rms_norm"
    found: list[Any] = [*node.args[at : at + 2], None, None]
    return found[0], found[1] if has_bias else None
