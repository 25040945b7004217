"""Weights whose products fit 16 bits, two at a time.

Processors without a dot product for bytes (x86 before VNNI) multiply unsigned activations by signed
weights and add two neighbouring products in 16 bits, where a sum saturates without a word.
ONNX Runtime's kernels do so.  The largest sum that a layer can reach follows from its weights and
from the range of each of its input channels.  Where it is too large for a channel, that channel's
scale is raised until it fits: for most channels not at all, for the others by little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from edgekit.quantize.precisions import base_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.fx import GraphModule, Node

    from edgekit.quantize.watching import Ranges

_LARGEST = 2**15 - 1 - 255  # two weights may be rounded up by half a step each
_LAYERS = {"conv1d", "conv2d", "conv3d", "linear"}


def relieve(prepared: GraphModule, ranges: Mapping[str, Ranges]) -> int:
    """Raise the scales that need it in the observers of weights; return of how many channels.

    A layer whose ranges are not known is taken to read every integer in every channel.
    """
    raised = 0
    for node in prepared.graph.nodes:
        if base_name(node) not in _LAYERS:
            continue
        activation, observer = (_observer(prepared, argument) for argument in node.args[:2])
        if activation is None or observer is None or activation.dtype is not torch.int8:
            continue
        weight = _value(prepared, node.args[1])
        groups = _groups(node)
        if groups == len(weight) > 1 == weight.shape[1]:
            continue  # depthwise: other kernels, with room enough
        found = _integers(ranges.get(node.name), activation, weight.shape[1] * groups)
        factor = _excess(weight, observer, found, groups)
        observer.min_val, observer.max_val = observer.min_val * factor, observer.max_val * factor
        raised += int((factor > 1).sum())
    return raised


def _integers(ranges: Ranges | None, activation: Any, channels: int) -> Ranges:
    """Return the lowest and the highest unsigned integer that each input channel takes."""
    if ranges is None:
        return torch.zeros(channels), torch.full((channels,), 255.0)
    scale, zero = activation.calculate_qparams()
    low, high = ((each / scale).round() + zero + 128 for each in ranges)
    return low.clamp(0, 255), high.clamp(0, 255)


def _excess(weight: Tensor, observer: Any, ranges: Ranges, groups: int) -> Tensor:
    """Return by how much the sums of each output channel exceed 16 bits; 1 where they do not."""
    low, high = ranges
    integers = weight / observer.calculate_qparams()[0].reshape(-1, *[1] * (weight.dim() - 1))
    places = integers[0, 0].numel()
    rows = integers.movedim(1, -1).reshape(groups, len(weight) // groups, -1)  # channels last
    low, high = (each.reshape(groups, 1, -1).repeat(1, 1, places) for each in (low, high))
    most = torch.maximum(rows * low, rows * high)
    least = torch.minimum(rows * low, rows * high)
    sums = [_in_pairs(each).abs().amax(-1) for each in (most, least)]
    return (torch.maximum(*sums) / _LARGEST).clamp(min=1.0).reshape(-1)


def _in_pairs(values: Tensor) -> Tensor:
    odd = values.shape[-1] % 2
    padded = torch.nn.functional.pad(values, (0, odd))
    return padded[..., ::2] + padded[..., 1::2]


def _groups(node: Node) -> int:
    place = {"conv1d": 6, "conv2d": 6, "conv3d": 6}.get(base_name(node), 0)
    found: Any = node.args[place] if place and len(node.args) > place else 1
    return int(found)


def _observer(prepared: GraphModule, node: Any) -> Any:
    """Return the observer that stands before an argument, None where it is not quantized."""
    if getattr(node, "op", "") != "call_module":
        return None
    found = prepared.get_submodule(node.target)
    return getattr(found, "activation_post_process", found)  # in training it rounds as well


def _value(prepared: GraphModule, node: Any) -> Tensor:
    """Return the constant that an observer reads."""
    found: Any = prepared
    for part in node.args[0].target.split("."):
        found = getattr(found, part)
    weight: Tensor = found.detach()
    return weight
