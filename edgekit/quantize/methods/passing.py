"""How operators pass factors of channels on: the labels of what they give.

A rule returns NotImplemented where a factor of what an operator reads is not one of its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from edgekit.quantize.methods.labels import Channels, Place, along, is_constant
from edgekit.quantize.precisions import base_name


class Tracer(Protocol):
    """What rules read and write.

    Attributes:
        channels: All labels so far.
        labels: Those of the elements of values, as tensors of the same shapes; None for values that
            stay as they are.
    """

    channels: Channels
    labels: dict[Node, Any]

    def fix(self, value: Node) -> None:
        """Let all channels of a value stay as they are."""


# Given the node, the values that it reads, and its result.
Rule = Callable[[Tracer, Any, dict[Node, Any], Any], Any]


def rule_of(node: Node) -> Rule | None:
    """Return the rule of the operator that a node calls; None where there is none."""
    return _RULES.get("getitem" if "getitem" in str(node.target) else base_name(node))


def _keep(tracer: Tracer, node: Any, _values: Any, result: Any) -> Any:
    """Each element computed from the same element, in proportion."""
    read = tracer.labels.get(node.args[0])
    return read if read is not None and result.dtype is torch.float32 else NotImplemented


def _clamp(tracer: Tracer, node: Any, _values: Any, _result: Any) -> Any:
    """Cut at zero, and at a bound that stays where it is: what is rescaled must stay below."""
    if base_name(node) == "hardtanh" and node.args[1:2] != (0,):
        return NotImplemented
    labels = tracer.labels[node.args[0]]
    for axis in range(labels.dim()):
        found = along(labels, axis)
        if found is not None:
            tracer.channels.clamps.append(Place(node, axis, found))
            return labels
    return NotImplemented


def _move(tracer: Tracer, node: Any, values: Any, _result: Any) -> Any:
    """Elements that go elsewhere: their labels go the same way."""

    def labels(each: Any) -> Any:
        if not isinstance(values[each], Tensor):
            return values[each]
        found = tracer.labels.get(each)
        return torch.zeros(values[each].shape, dtype=torch.int64) if found is None else found

    made = node.target(*map_arg(node.args, labels), **map_arg(node.kwargs, labels))
    return tuple(made) if isinstance(made, list | tuple) else made


def _item(tracer: Tracer, node: Any, _values: Any, _result: Any) -> Any:
    found = tracer.labels[node.args[0]]
    return found[node.args[1]] if isinstance(found, tuple) else NotImplemented


def _spatial(tracer: Tracer, node: Any, _values: Any, result: Any) -> Any:
    """Pools and the like: each channel computed from itself, along the last axes."""
    labels, axes = tracer.labels[node.args[0]], int(base_name(node)[-2])
    return _mixed(labels, range(labels.dim() - axes, labels.dim()), result)


def _padded(tracer: Tracer, node: Any, _values: Any, result: Any) -> Any:
    """Zeros around: a factor does nothing to them."""
    value = node.args[2] if len(node.args) > 2 and base_name(node) == "constant_pad_nd" else 0
    mode = node.args[2] if len(node.args) > 2 and base_name(node) == "pad" else "constant"
    filled = value or (mode == "constant" and any(node.args[3:4])) or node.kwargs
    labels = tracer.labels[node.args[0]]
    axes = range(labels.dim() - len(node.args[1]) // 2, labels.dim())
    return NotImplemented if filled else _mixed(labels, axes, result)


def _mean(tracer: Tracer, node: Any, _values: Any, result: Any) -> Any:
    labels = tracer.labels[node.args[0]]
    given = node.args[1] if len(node.args) > 1 else None
    axes = [each % labels.dim() for each in given or range(labels.dim())]
    if not all(is_constant(labels, axis) for axis in axes):
        return NotImplemented
    for axis in axes:
        labels = labels.narrow(axis, 0, 1)
    return labels.reshape(result.shape)


def _mixed(labels: Tensor, axes: range, result: Any) -> Any:
    """Return the labels of values that are computed along some axes."""
    if not isinstance(result, Tensor) or not all(is_constant(labels, axis) for axis in axes):
        return NotImplemented
    for axis in axes:
        labels = labels.narrow(axis, 0, 1)
    return labels.expand(result.shape)


def _sum(tracer: Tracer, node: Any, _values: Any, result: Any) -> Any:
    """A sum: both sides have one factor."""
    first, second = (tracer.labels.get(each) for each in node.args[:2])
    if first is None or second is None:
        return NotImplemented
    tracer.channels.same(first, second)
    return max(first, second, key=lambda each: each.dim()).expand(result.shape)


def _product(tracer: Tracer, node: Any, _values: Any, result: Any) -> Any:
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


def _matrix_product(tracer: Tracer, node: Any, _values: Any, result: Any) -> Any:
    """A product of matrices passes on the factors of the right one's columns."""
    attention = base_name(node) == "scaled_dot_product_attention"
    right = node.args[2 if attention else 1]
    labels = tracer.labels.get(right)
    if labels is None or labels.dim() < 2 or not is_constant(labels, labels.dim() - 2):
        return NotImplemented
    for each in node.all_input_nodes:
        if each is not right:
            tracer.fix(each)
    row = labels.narrow(-2, 0, 1)
    fits = len(row.shape) == result.dim() and row.shape[:-2] == result.shape[:-2]
    return row.expand(result.shape) if fits else NotImplemented


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
