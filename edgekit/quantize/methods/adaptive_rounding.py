"""Weights rounded up or down, whichever leaves a layer's output nearest to the float model's.

The nearest integer is best for a weight alone, and seldom for a sum of many.  So each weight may
take either integer beside it, and of all choices one is sought that leaves a small squared error

    | x_q (s q) - y |^2

over rows of calibration data: x_q what the layer reads when all before it is quantized, y what the
float layer gives, s the scales that were found.  It starts from the nearest integers and turns one
weight after another wherever that lowers the error, until none does or the sweeps are over; so it
ends no worse than it began, and the same each time.  What is seen too rarely to be known is kept
near the nearest integer by a penalty that falls with the number of rows.  Transposed convolutions
and weights that several layers read are rounded to the nearest.

Source of the objective: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training
Quantization" (ICML 2020).  That relaxes the choice to numbers between 0 and 1 and follows
gradients; here it is made weight by weight, which needs no step size and no random start.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

from edgekit.quantize.constants import (
    groups_of,
    observer_of,
    readers_of,
    replace_value,
    value_of,
)
from edgekit.quantize.methods import lockstep
from edgekit.quantize.precisions import base_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.fx import GraphModule

    from edgekit.quantize.methods.lockstep import Tensors, Values

_SAMPLES = 128
_ROWS = 8192  # of a layer's output, over all samples
_WIDEST = 8192  # inputs of one output: the products of each two are held in memory
_SWEEPS = 8
_BLOCK = 64  # columns that are turned before the others hear of it
_PENALTY = 0.1
_HIGHEST = 127
_LAYERS = {"conv1d", "conv2d", "conv3d", "linear"}


def choose(prepared: GraphModule, plain: GraphModule, samples: Sequence[Tensors]) -> None:
    """Choose the integers of a graph's weights, whose scales are fixed.

    Args:
        prepared: The graph with observers; its weights become multiples of their scales.
        plain: The float graph.
        samples: Calibration data.
    """
    converted = convert_pt2e(copy.deepcopy(prepared), fold_quantize=True)
    chosen = lockstep.fitting(plain, samples, _SAMPLES)
    weights = _weights(prepared)
    targets = lockstep.layers(plain, chosen)
    for node, values in lockstep.layers(converted, chosen):
        if node.name not in weights:
            continue
        source, scale = weights[node.name]
        weight = value_of(prepared, source)
        rounded = _rounded(node, weight, scale, values, _of_same_name(targets, node))
        replace_value(prepared, source, rounded)
        _compute_again(node, rounded, values)


def _weights(prepared: GraphModule) -> dict[str, tuple[Node, Tensor]]:
    """Return by layer the node of its weight and the scales: those that nothing else reads."""
    found: dict[str, tuple[Node, Tensor]] = {}
    readers = readers_of(prepared)
    for node in prepared.graph.nodes:
        observed: Any = node.args[1] if base_name(node) in _LAYERS else None
        observer = observer_of(prepared, observed)
        if observer is None or len(observed.users) > 1:
            continue
        source: Node = observed.args[0]
        wide = value_of(prepared, source)[0].numel() > _WIDEST
        if readers[str(source.target)] == 1 and not wide:
            found[node.name] = source, observer.calculate_qparams()[0]
    return found


def _of_same_name(targets: Any, node: Node) -> list[Tensor]:
    """Go on in the float graph to a layer; return what it gives for each sample."""
    for layer, values in targets:
        if layer.name == node.name:
            return [env[layer] for env in values]
    raise AssertionError(f"no layer {node.name} in the float graph")


def _compute_again(node: Node, weight: Tensor, values: list[Values]) -> None:
    target: Any = node.target
    arguments: tuple[Any, ...] = node.args
    source, _, *rest = arguments
    for env in values:
        others = [env[each] if isinstance(each, Node) else each for each in rest]
        env[node] = target(env[source], weight, *others, **node.kwargs)


# -- One layer -------------------------------------------------------------------------------------


def _rounded(
    node: Node, weight: Tensor, scale: Tensor, values: list[Values], wanted: list[Tensor]
) -> Tensor:
    """Return a layer's weight as multiples of its scales."""
    groups = groups_of(node)
    source: Any = node.args[0]
    bias: Any = node.args[2] if len(node.args) > 2 else None
    squares, products, count = torch.zeros(()), torch.zeros(()), 0
    for index, (env, target) in enumerate(zip(values, wanted, strict=True)):
        at = _Positions(node, weight, max(1, _ROWS // len(values)), index)
        read = at.read(env[source])
        given = at.given(target, None if bias is None else env[bias])
        squares = squares + read.transpose(1, 2) @ read
        products = products + given.transpose(1, 2) @ read
        count += read.shape[1]
    steps = scale.reshape(groups, -1, 1)
    exact = weight.reshape(groups, len(weight) // groups, -1) / steps
    return (turned(exact, squares, products / steps, count) * steps).reshape(weight.shape)


def turned(exact: Tensor, squares: Tensor, products: Tensor, count: int) -> Tensor:
    """Return integers, each one of the two beside a weight, that leave a small error.

    Args:
        exact: Weights in steps, (groups, outputs, inputs).
        squares: Of the inputs, the sums of the products of each two: (groups, inputs, inputs).
        products: Of outputs, in steps, and inputs: (groups, outputs, inputs).
        count: How many rows were summed.
    """
    share = min(1.0, exact.shape[2] / count)
    penalty = _PENALTY * share * squares.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    squares = squares + penalty * torch.eye(exact.shape[2])
    products = products + penalty * exact
    low = exact.floor().clamp(-_HIGHEST, _HIGHEST - 1)
    found = torch.minimum(torch.maximum(exact.round(), low), low + 1)
    for _ in range(_SWEEPS):
        if not _sweep(found, low, squares, found @ squares - products):
            break
    return found


def _sweep(found: Tensor, low: Tensor, squares: Tensor, slope: Tensor) -> bool:
    """Turn every weight once for which that lowers the error; return whether there was one."""
    before_all = found.clone()
    for start in range(0, found.shape[2], _BLOCK):
        block = slice(start, start + _BLOCK)
        inside = squares[:, block, block]
        near, before = slope[:, :, block].clone(), found[:, :, block].clone()
        for column in range(inside.shape[1]):
            at = start + column
            by = 2 * (low[:, :, at] - found[:, :, at]) + 1
            gain = 2 * by * near[:, :, column] + inside[:, column, column, None]
            by = torch.where(gain < 0, by, 0.0)
            found[:, :, at] += by
            near += by[:, :, None] * inside[:, None, column]
        slope += (found[:, :, block] - before) @ squares[:, block]
    return not torch.equal(found, before_all)


class _Positions:
    """Which of a layer's outputs for one sample are rows: so many, evenly, other ones each time."""

    def __init__(self, node: Node, weight: Tensor, most: int, index: int) -> None:
        self._node, self._weight, self._most, self._index = node, weight, most, index
        self._groups, self._axes = groups_of(node), weight.dim() - 2

    def read(self, value: Tensor) -> Tensor:
        """Return what rows are computed from: (groups, rows, inputs)."""
        if not self._axes:
            return self._picked(value.reshape(1, -1, value.shape[-1]), [1])
        if value.dim() == self._axes + 1:
            value = value[None]
        stride, padding, dilation = self._steps()
        value = torch.nn.functional.pad(value, padding)
        for axis, size in enumerate(self._weight.shape[2:]):
            reach = dilation[axis] * (size - 1) + 1
            value = value.unfold(axis + 2, reach, stride[axis])[..., :: dilation[axis]]
        value = self._picked(value, self._spatial)
        split = value.reshape(len(value), self._groups, -1, *value.shape[2:])
        rows = split.movedim(2, 2 + self._axes).movedim(1, 0)  # groups, images, places, channels, k
        return rows.reshape(self._groups, -1, self._weight[0].numel())

    def given(self, value: Tensor, bias: Tensor | None) -> Tensor:
        """Return the rows themselves, less a bias: (groups, rows, outputs)."""
        if not self._axes:
            rows = self._picked(value.reshape(1, -1, value.shape[-1]), [1])
            return rows if bias is None else rows - bias
        if value.dim() == self._axes + 1:
            value = value[None]
        rows = self._picked(value, self._spatial).movedim(1, -1)
        rows = rows if bias is None else rows - bias
        split = rows.reshape(-1, self._groups, len(self._weight) // self._groups)
        return split.movedim(1, 0)

    @property
    def _spatial(self) -> list[int]:
        return list(range(2, 2 + self._axes))

    def _picked(self, value: Tensor, axes: list[int]) -> Tensor:
        count = math.prod(value.shape[axis] for axis in axes) * (len(value) if self._axes else 1)
        step = math.ceil((count / self._most) ** (1 / len(axes)))
        for axis in axes:
            kept = torch.arange(self._index % min(step, value.shape[axis]), value.shape[axis], step)
            value = value.index_select(axis, kept)
        return value

    def _steps(self) -> tuple[list[int], list[int], list[int]]:
        """Return strides, padding as `torch.nn.functional.pad` takes it, and dilations."""
        given: list[Any] = [*self._node.args[3:6], None, None, None]
        stride, dilation = (self._each(given[place], 1) for place in (0, 2))
        if isinstance(given[1], str):
            sizes = self._weight.shape[2:]
            total = [
                d * (k - 1) * (given[1] == "same") for d, k in zip(dilation, sizes, strict=True)
            ]
            ends = [(each // 2, each - each // 2) for each in total]
        else:
            ends = [(each, each) for each in self._each(given[1], 0)]
        return stride, [side for pair in reversed(ends) for side in pair], dilation

    def _each(self, given: Any, default: int) -> list[int]:
        """Return a number for each axis."""
        numbers = [default] if given is None else list(given)
        return numbers * self._axes if len(numbers) == 1 else numbers
