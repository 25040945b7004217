"""Biases that take back what rounding adds to a layer's outputs on average.

Rounded weights and clipped activations shift the mean of each output channel: by little in wide
layers, by much where few products make a sum, as in depthwise convolutions.  The shift is measured
on calibration data, layer by layer with those before corrected already, and taken off the bias.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(ICCV 2019), section 4.2, with means that are measured.
"""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

from edgekit.quantize.constants import value_of
from edgekit.quantize.precisions import base_name
from edgekit.quantize.quantizer import WEIGHTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from torch.fx import GraphModule, Node

Tensors = dict[str, "Tensor"]
_SAMPLES = 16  # that means are taken over; all of them are in memory at once


def means(module: GraphModule, samples: Sequence[Tensors]) -> dict[str, Tensor]:
    """Return by name of node the mean of each channel that a float graph's layers give."""
    found = _Lockstep(module)
    found.run_all(samples[:_SAMPLES])
    return found.means


def correct(
    prepared: GraphModule, samples: Sequence[Tensors], wanted: Mapping[str, Tensor]
) -> None:
    """Shift the biases of a graph with observers so that, quantized, it gives the means `wanted`.

    A layer without a bias of its own stays as it is.
    """
    layers = [node for node in prepared.graph.nodes if node.name in wanted]
    biases = {node.name: bias for node in layers if (bias := _bias(node)) is not None}
    converted = convert_pt2e(copy.deepcopy(prepared), fold_quantize=True)
    trial = _Lockstep(converted, {name: wanted[name] for name in biases})
    trial.run_all(samples[:_SAMPLES])
    for name, bias in biases.items():
        value_of(prepared, bias).add_(trial.shifts[name])


class _Lockstep(Interpreter):
    """Runs a graph on all samples at once, node by node; corrects biases on the way if told to."""

    def __init__(
        self, module: GraphModule, wanted: Mapping[str, Tensor] = MappingProxyType({})
    ) -> None:
        super().__init__(module)
        self._nodes = list(module.graph.nodes)
        self._wanted = wanted
        self.means: dict[str, Tensor] = {}
        self.shifts: dict[str, Tensor] = {}

    def run_all(self, samples: Sequence[Tensors]) -> None:
        """Run the graph."""
        envs: list[dict[Node, Any]] = [{} for _ in samples]
        last = {argument: node for node in self._nodes for argument in node.all_input_nodes}
        for node in self._nodes:
            if node.op == "output":
                return
            self._each(node, envs, samples)
            if base_name(node) in WEIGHTED:
                mean = _mean(node, [env[node] for env in envs])
                self.means[node.name] = mean
                if node.name in self._wanted:
                    self._shift(node, self._wanted[node.name] - mean, envs)
            for argument in node.all_input_nodes:
                if last[argument] is node:
                    for env in envs:
                        del env[argument]

    def _each(self, node: Node, envs: list[dict[Node, Any]], samples: Sequence[Tensors]) -> None:
        for env, sample in zip(envs, samples, strict=True):
            if node.op == "placeholder":
                env[node] = sample[str(node.target)]
            else:
                self.env = env
                env[node] = self.run_node(node)

    def _shift(self, node: Node, by: Tensor, envs: list[dict[Node, Any]]) -> None:
        shape = [1] * envs[0][node].dim()
        shape[_channel_axis(node, envs[0][node])] = -1
        for env in envs:
            env[node] = env[node] + by.reshape(shape)
        self.shifts[node.name] = by


def _bias(node: Node) -> Node | None:
    """Return the constant that a layer of a graph with observers adds, if it is the layer's own."""
    bias: Any = node.args[2] if len(node.args) > 2 else None
    if getattr(bias, "op", "") == "call_module":
        bias = bias.args[0]
    alone = getattr(bias, "op", "") == "get_attr" and len(bias.users) == 1
    return bias if alone else None


def _mean(node: Node, values: list[Tensor]) -> Tensor:
    axis = _channel_axis(node, values[0])
    rows = [value.movedim(axis, 0).flatten(1) for value in values]
    return torch.stack([row.double().mean(1) for row in rows]).mean(0).float()


def _channel_axis(node: Node, value: Tensor) -> int:
    return value.dim() - 1 if base_name(node) == "linear" else 1
