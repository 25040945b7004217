"""Biases that take back what rounding adds to a layer's outputs on average.

Rounded weights and clipped activations shift the mean of each output channel: by little in wide
layers, by much where few products make a sum, as in depthwise convolutions.  The shift is measured
on calibration data, layer by layer with those before corrected already, and taken off the bias, as
far as it is more than chance.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(ICCV 2019), section 4.2, with means that are measured.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

from edgekit.quantize.constants import replace_value, value_of
from edgekit.quantize.methods import lockstep
from edgekit.quantize.methods.channels import channel_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from torch.fx import GraphModule, Node

    from edgekit.quantize.methods.lockstep import Tensors, Values

_SAMPLES = 128  # at most


def means(module: GraphModule, samples: Sequence[Tensors]) -> dict[str, Tensor]:
    """Return by name of node what each channel of a float graph's layers is on average.

    Each has the shape samples, channels: of as many samples as can be run at once.
    """
    chosen = lockstep.fitting(module, samples, _SAMPLES)
    return {
        node.name: _means(node, [env[node] for env in values])
        for node, values in lockstep.layers(module, chosen)
    }


def correct(
    prepared: GraphModule, samples: Sequence[Tensors], wanted: Mapping[str, Tensor]
) -> None:
    """Shift the biases of a graph with observers so that, quantized, it gives the means `wanted`.

    A layer without a bias of its own stays as it is.
    """
    own = [node for node in prepared.graph.nodes if node.name in wanted]
    biases = {node.name: bias for node in own if (bias := _bias(node)) is not None}
    converted = convert_pt2e(copy.deepcopy(prepared), fold_quantize=True)
    chosen = samples[: len(next(iter(wanted.values())))]
    for node, values in lockstep.layers(converted, chosen):
        if node.name not in biases:
            continue
        shift = _beyond_chance(wanted[node.name] - _means(node, [env[node] for env in values]))
        _shift(node, shift, values)
        bias = biases[node.name]
        replace_value(prepared, bias, value_of(prepared, bias) + shift)


def _shift(node: Node, by: Tensor, values: list[Values]) -> None:
    shape = [1] * values[0][node].dim()
    shape[channel_axis(node, values[0][node])] = -1
    for env in values:
        env[node] = env[node] + by.reshape(shape)


def _bias(node: Node) -> Node | None:
    """Return the constant that a layer of a graph with observers adds, if it is the layer's own."""
    bias: Any = node.args[2] if len(node.args) > 2 else None
    if getattr(bias, "op", "") == "call_module":
        bias = bias.args[0]
    alone = getattr(bias, "op", "") == "get_attr" and len(bias.users) == 1
    return bias if alone else None


def _means(node: Node, values: list[Tensor]) -> Tensor:
    axis = channel_axis(node, values[0])
    rows = [value.movedim(axis, 0).flatten(1) for value in values]
    return torch.stack([row.double().mean(1) for row in rows])


def _beyond_chance(shifts: Tensor) -> Tensor:
    """Return the mean shift of each channel, less what so few samples give by chance.

    That is the positive-part James-Stein estimator, with the standard error of each mean.
    """
    mean = shifts.mean(0)
    error = shifts.var(0, correction=min(1, len(shifts) - 1)) / len(shifts)
    share = 1 - error / mean.square().clamp_min(torch.finfo(mean.dtype).tiny)
    return (share.clamp_min(0) * mean).float()
