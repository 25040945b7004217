"""Which channels of a graph may be rescaled, and which of them only together.

A layer's output channel can be divided by a number, and whatever reads it multiplied by the same
number, if all that lies between keeps channels apart and passes a factor on: a ReLU, a pool, a
reshape, a sum whose other side is rescaled as well.  To find out, every channel that a constant
gives gets a label, and the labels go through the graph as values do.  Where two meet in a sum, they
are one from then on.  Where one meets an operator that does not pass a factor on, or an output, it
is one with label 0: the channels that stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import Interpreter
from torch.fx.node import map_arg

from edgekit.quantize.precisions import base_name
from edgekit.quantize.quantizer import WEIGHTED

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

FIXED = 0


@dataclass(frozen=True)
class Place:
    """Where labelled channels are.

    Attributes:
        node: A layer or a clamp; of a constant, the node that brings it in.
        axis: The axis of the channels: in what the node reads or, of a constant, in itself.
        labels: The label of each channel.
    """

    node: Node
    axis: int
    labels: Tensor


@dataclass
class Channels:
    """The labels of a graph, and where they are.

    Attributes:
        sources: Constants whose channels give what is labelled: divide these.
        readers: Layers whose weights make up for it: multiply these along their input channels.
        clamps: What cuts values at zero and at a bound.
    """

    sources: list[Place] = field(default_factory=list)
    readers: list[Place] = field(default_factory=list)
    clamps: list[Place] = field(default_factory=list)
    count: int = 1
    _pairs: list[Tensor] = field(default_factory=list)
    _fixed: set[int] = field(default_factory=lambda: {FIXED})

    def new(self, count: int) -> Tensor:
        """Return labels that nothing has."""
        self.count += count
        return torch.arange(self.count - count, self.count)

    def same(self, first: Tensor, second: Tensor) -> None:
        """Note that channels must have the same factor, element by element."""
        left, right = _compact(first, second)
        pairs = torch.stack([left + 0 * right, right + 0 * left], -1).reshape(-1, 2)
        self._pairs.append(torch.unique(pairs[pairs[:, 0] != pairs[:, 1]], dim=0))

    def fix(self, labels: Tensor) -> None:
        """Note that channels stay as they are."""
        self.same(labels, torch.zeros((), dtype=labels.dtype))
        self._fixed |= set(self._pairs[-1].reshape(-1).tolist())

    def are_fixed(self, labels: Tensor) -> bool:
        """Whether channels are known already to stay as they are."""
        return set(torch.unique(labels).tolist()) <= self._fixed

    def roots(self) -> Tensor:
        """Return for each label the smallest that it is one with."""
        return united(self.count, self._pairs)


def united(count: int, pairs: list[Tensor]) -> Tensor:
    """Return for each of so many numbers the smallest that pairs connect it to."""
    parent = list(range(count))

    def root(each: int) -> int:
        while parent[each] != each:
            parent[each] = parent[parent[each]]
            each = parent[each]
        return each

    for first, second in (pair for each in pairs for pair in each.tolist()):
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return torch.tensor([root(each) for each in range(count)])


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
        self._readers = _readers(module)

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
        rule = _RULES.get("getitem" if "getitem" in str(node.target) else name)
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
                _along(self.labels[source], axis) if free and base_name(node) in WEIGHTED else None
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
        return _shaped(labels, axis, result)

    def _spread(self, node: Node, axis: int, labels: Tensor, value: Tensor) -> Tensor:
        self.channels.sources.append(Place(node, axis, labels))
        return _shaped(labels, axis, value)


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


def _readers(module: GraphModule) -> dict[str, int]:
    """Return how many nodes read each constant."""
    found: dict[str, int] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            found[str(node.target)] = found.get(str(node.target), 0) + len(node.users)
    return found


# -- Labels ----------------------------------------------------------------------------------------


def _shaped(labels: Tensor, axis: int, value: Tensor) -> Tensor:
    """Return the labels of channels as those of all elements; takes no memory."""
    shape = [1] * value.dim()
    shape[axis] = -1
    return labels.reshape(shape).expand(value.shape)


def _compact(*labels: Tensor) -> list[Tensor]:
    """Return views without the axes along which no element differs in memory."""
    found = []
    for each in labels:
        for axis, stride in enumerate(each.stride()):
            if stride == 0 and each.shape[axis] > 1:
                each = each.narrow(axis, 0, 1)
        found.append(each)
    return found


def _is_constant(labels: Tensor, axis: int) -> bool:
    (compact,) = _compact(labels)
    return bool((compact == compact.narrow(axis, 0, 1)).all())


def _along(labels: Tensor, axis: int) -> Tensor | None:
    """Return the labels along one axis; None where they differ along another."""
    for other in range(labels.dim()):
        if other != axis:
            if not _is_constant(labels, other):
                return None
            labels = labels.narrow(other, 0, 1)
    return labels.reshape(-1)


# -- Rules: the labels of a result, NotImplemented where factors are not passed on -----------------

Rule = Callable[[_Tracer, Any, dict["Node", Any], Any], Any]


def _keep(tracer: _Tracer, node: Any, _values: Any, result: Any) -> Any:
    """Each element computed from the same element, in proportion."""
    read = tracer.labels.get(node.args[0])
    return read if read is not None and result.dtype is torch.float32 else NotImplemented


def _clamp(tracer: _Tracer, node: Any, _values: Any, _result: Any) -> Any:
    """Cut at zero, and at a bound that stays where it is: what is rescaled must stay below."""
    if base_name(node) == "hardtanh" and node.args[1:2] != (0,):
        return NotImplemented
    labels = tracer.labels[node.args[0]]
    for axis in range(labels.dim()):
        found = _along(labels, axis)
        if found is not None:
            tracer.channels.clamps.append(Place(node, axis, found))
            return labels
    return NotImplemented


def _move(tracer: _Tracer, node: Any, values: Any, _result: Any) -> Any:
    """Elements that go elsewhere: their labels go the same way."""

    def labels(each: Any) -> Any:
        if not isinstance(values[each], Tensor):
            return values[each]
        found = tracer.labels.get(each)
        return torch.zeros(values[each].shape, dtype=torch.int64) if found is None else found

    made = node.target(*map_arg(node.args, labels), **map_arg(node.kwargs, labels))
    return tuple(made) if isinstance(made, list | tuple) else made


def _item(tracer: _Tracer, node: Any, _values: Any, _result: Any) -> Any:
    found = tracer.labels[node.args[0]]
    return found[node.args[1]] if isinstance(found, tuple) else NotImplemented


def _spatial(tracer: _Tracer, node: Any, _values: Any, result: Any) -> Any:
    """Pools and the like: each channel computed from itself, along the last axes."""
    labels, axes = tracer.labels[node.args[0]], int(base_name(node)[-2])
    return _mixed(labels, range(labels.dim() - axes, labels.dim()), result)


def _padded(tracer: _Tracer, node: Any, _values: Any, result: Any) -> Any:
    """Zeros around: a factor does nothing to them."""
    value = node.args[2] if len(node.args) > 2 and base_name(node) == "constant_pad_nd" else 0
    mode = node.args[2] if len(node.args) > 2 and base_name(node) == "pad" else "constant"
    filled = value or (mode == "constant" and any(node.args[3:4])) or node.kwargs
    labels = tracer.labels[node.args[0]]
    axes = range(labels.dim() - len(node.args[1]) // 2, labels.dim())
    return NotImplemented if filled else _mixed(labels, axes, result)


def _mean(tracer: _Tracer, node: Any, _values: Any, result: Any) -> Any:
    labels = tracer.labels[node.args[0]]
    given = node.args[1] if len(node.args) > 1 else None
    axes = [each % labels.dim() for each in given or range(labels.dim())]
    if not all(_is_constant(labels, axis) for axis in axes):
        return NotImplemented
    for axis in axes:
        labels = labels.narrow(axis, 0, 1)
    return labels.reshape(result.shape)


def _mixed(labels: Tensor, axes: range, result: Any) -> Any:
    """Return the labels of values that are computed along some axes."""
    if not isinstance(result, Tensor) or not all(_is_constant(labels, axis) for axis in axes):
        return NotImplemented
    for axis in axes:
        labels = labels.narrow(axis, 0, 1)
    return labels.expand(result.shape)


def _sum(tracer: _Tracer, node: Any, _values: Any, result: Any) -> Any:
    """A sum: both sides have one factor."""
    first, second = (tracer.labels.get(each) for each in node.args[:2])
    if first is None or second is None:
        return NotImplemented
    tracer.channels.same(first, second)
    return max(first, second, key=lambda each: each.dim()).expand(result.shape)


def _product(tracer: _Tracer, node: Any, _values: Any, result: Any) -> Any:
    """A product passes on the factor of one side; that of a constant gives way."""
    labels = {each: tracer.labels.get(each) for each in node.all_input_nodes}
    sides = [
        each
        for each, found in labels.items()
        if found is not None and not tracer.channels.are_fixed(found)
    ]
    if not sides or node.args[0] is node.args[1]:
        return NotImplemented
    if base_name(node) == "div" and node.args[1] in sides:
        return NotImplemented
    sides.sort(key=lambda each: each.op == "get_attr")
    for each in sides[1:]:
        tracer.fix(each)
    return tracer.labels[sides[0]].expand(result.shape)


def _matrix_product(tracer: _Tracer, node: Any, _values: Any, result: Any) -> Any:
    """A product of matrices passes on the factors of the right one's columns."""
    attention = base_name(node) == "scaled_dot_product_attention"
    right = node.args[2 if attention else 1]
    labels = tracer.labels.get(right)
    if labels is None or labels.dim() < 2 or not _is_constant(labels, labels.dim() - 2):
        return NotImplemented
    for each in node.all_input_nodes:
        if each is not right:
            tracer.fix(each)
    row = labels.narrow(-2, 0, 1)
    fits = len(row.shape) == result.dim() and row.shape[:-2] == result.shape[:-2]
    return row.expand(result.shape) if fits else NotImplemented


# Norms, and where their weight is among the arguments; what they read stays as it is.
NORMS = {"layer_norm": 2, "rms_norm": 2, "group_norm": 2, "batch_norm": 1, "instance_norm": 1}
_UNREAD = {"sym_size", "size"}  # these read shapes only
_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("relu", "leaky_relu", "prelu", "clone", "contiguous", "alias", "detach"), _keep
    ),
    **dict.fromkeys(("neg", "abs", "dropout", "to", "_to_copy"), _keep),
    **dict.fromkeys(("relu6", "hardtanh"), _clamp),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "permute", "transpose"), _move),
    **dict.fromkeys(("t", "squeeze", "unsqueeze", "slice", "select", "expand", "cat"), _move),
    **dict.fromkeys(("stack", "narrow", "repeat", "chunk", "split", "split_with_sizes"), _move),
    **dict.fromkeys(("pixel_shuffle", "channel_shuffle", "roll", "flip", "unbind"), _move),
    "getitem": _item,
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), _spatial),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _spatial),
    **dict.fromkeys(("upsample_nearest2d", "upsample_bilinear2d"), _spatial),
    **dict.fromkeys(("constant_pad_nd", "pad"), _padded),
    "mean": _mean,
    **dict.fromkeys(("add", "sub"), _sum),
    **dict.fromkeys(("mul", "div"), _product),
    **dict.fromkeys(("matmul", "bmm", "scaled_dot_product_attention"), _matrix_product),
}
