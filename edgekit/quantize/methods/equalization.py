"""Channels of equal reach: factors move from weights that give a value to weights that read it.

All channels of a value share one scale, so one that reaches far leaves the others few steps.
Dividing a channel where it is made, and multiplying it where it is read, changes nothing in float.
Between two layers this is cross-layer equalization; from the weights of a norm into the layers that
read it, the migration of difficulty that SmoothQuant does.  Both choose the factor of channel j as

    s_j = max|x_j|^a / max|w_j|^(1-a)

with x_j its values on calibration data and w_j the weights that read it.  Where only depthwise
layers read, whose weights have one scale for each channel anyway, a is 1.

Sources: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(ICCV 2019), section 4.1, with values that are measured, since weights have one scale per output
channel here; Xiao et al., "SmoothQuant" (ICML 2023), equation 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import Interpreter

from edgekit.quantize.constants import groups_of, replace_value, value_of
from edgekit.quantize.methods import channels
from edgekit.quantize.methods.labels import FIXED, Channels, Place, united
from edgekit.quantize.precisions import base_name, precision_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.fx import GraphModule, Node

    from edgekit.recipe import Recipe

_SMALLEST = 1e-4  # of a tensor's reach: channels below it are treated as if they reached so far


def equalize(
    module: GraphModule, recipe: Recipe, samples: Sequence[dict[str, Tensor]]
) -> tuple[str, ...]:
    """Rescale the channels of a float graph; return what to know of it, one sentence each.

    Weights that change are replaced, not written to: the graph may share them with others.
    """
    assert recipe.calibration is not None
    found = channels.trace(module, samples[0])
    roots = found.roots()
    reach = _reach(module, found, roots, samples)
    readers = [each for each in found.readers if precision_of(each.node, recipe).is_static]
    strength = recipe.calibration.migration_strength
    factors = _factors(module, found, roots, reach, readers, strength)[roots]
    for place in found.sources:
        _scale(module, place, 1 / factors[place.labels], made=True)
    for place in found.readers:
        _scale(module, place, factors[place.labels], made=False)
    return () if (factors != 1).any() else ("equalization found no channels that may be rescaled",)


# -- Factors ---------------------------------------------------------------------------------------


def _factors(
    module: GraphModule,
    found: Channels,
    roots: Tensor,
    reach: Tensor,
    readers: Sequence[Place],
    strength: float,
) -> Tensor:
    """Return the factor of each root: 1 where nothing is gained or allowed."""
    weights = torch.zeros(found.count, dtype=torch.double)
    used = torch.zeros(found.count, dtype=torch.bool)
    for place in readers:
        labels = roots[place.labels]
        used[labels] = True
        if not _is_depthwise(module, place.node):
            rows = _columns(module, place).abs().amax(1).double()
            weights.scatter_reduce_(0, labels, rows, "amax")
    factors = torch.ones(found.count, dtype=torch.double)
    bounds = _bounds(found, roots, reach)
    for members in _tensors(roots, readers, used):
        chosen = _balanced(reach[members], weights[members], strength)
        if (bounds[members] > 0).any():
            chosen = torch.maximum(chosen / chosen.max(), bounds[members])
        factors[members] = chosen
    return factors


def _balanced(reach: Tensor, weights: Tensor, strength: float) -> Tensor:
    """Return the factors of channels that share tensors; their product is 1."""
    if not reach.any():
        return torch.ones_like(reach)
    reach = reach.clamp_min(_SMALLEST * float(reach.max()))
    if weights.any():
        weights = weights.clamp_min(_SMALLEST * float(weights.max()))
        factors = reach**strength / weights ** (1 - strength)
    else:
        factors = reach**strength
    return factors / factors.log().mean().exp()


def _tensors(roots: Tensor, readers: Sequence[Place], used: Tensor) -> list[Tensor]:
    """Return the roots that share tensors, those that stay as they are left out."""
    pairs = [
        torch.stack([labels, labels[:1].expand_as(labels)], -1)
        for labels in (_movable(roots, each) for each in readers)
        if len(labels)
    ]
    groups = united(len(roots), pairs)
    chosen = used & (roots == torch.arange(len(roots)))
    chosen[FIXED] = False
    wanted = torch.unique(groups[chosen])
    return [(chosen & (groups == each)).nonzero().reshape(-1) for each in wanted]


def _movable(roots: Tensor, place: Place) -> Tensor:
    labels: Tensor = torch.unique(roots[place.labels])
    return labels[labels != FIXED]


def _bounds(found: Channels, roots: Tensor, reach: Tensor) -> Tensor:
    """Return the smallest factor, of 1 at most, with which no channel passes the bound of a clamp.

    A clamp stays where it is, so a channel with a factor below 1 is cut earlier than in the model:
    above all that it reached on calibration data, and never later.
    """
    bounds = torch.zeros(found.count, dtype=torch.double)
    for place in found.clamps:
        arguments: Any = place.node.args
        bound = 6.0 if base_name(place.node) == "relu6" else float(arguments[2])
        labels = roots[place.labels]
        bounds.scatter_reduce_(0, labels, (reach[labels] / bound).clamp(1e-3, 1), "amax")
    return bounds


# -- Reach -----------------------------------------------------------------------------------------


def _reach(
    module: GraphModule, found: Channels, roots: Tensor, samples: Sequence[Mapping[str, Tensor]]
) -> Tensor:
    """Return the largest magnitude of each root's channels, where layers and clamps read them."""
    watcher = _Watcher(module, found, roots)
    order = [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]
    for sample in samples:
        watcher.run(*(sample[name] for name in order))
    return watcher.reach


class _Watcher(Interpreter):
    """Runs a graph and looks at labelled channels."""

    def __init__(self, module: GraphModule, found: Channels, roots: Tensor) -> None:
        super().__init__(module)
        self._read = {each.node: each for each in found.readers}
        self._given = {each.node: each for each in found.clamps}
        self._roots = roots
        self.reach = torch.zeros(found.count, dtype=torch.double)

    def run_node(self, n: Node) -> Any:
        if n in self._read:
            source: Any = n.args[0]
            self._look(self._read[n], self.env[source])
        result = super().run_node(n)
        if n in self._given:
            self._look(self._given[n], result)
        return result

    def _look(self, place: Place, value: Tensor) -> None:
        rows = value.movedim(place.axis, 0).flatten(1).abs().amax(1).double()
        self.reach.scatter_reduce_(0, self._roots[place.labels], rows, "amax")


# -- Weights ---------------------------------------------------------------------------------------


def _is_depthwise(module: GraphModule, node: Node) -> bool:
    """Whether each output channel reads one channel, so that its scale takes up any factor."""
    weight = value_of(module, node.args[1])
    return groups_of(node) > 1 and weight.shape[_input_axis(node)] == 1


def _columns(module: GraphModule, place: Place) -> Tensor:
    """Return the weights that read each input channel, a row each."""
    weight = value_of(module, place.node.args[1])
    groups = groups_of(place.node)
    if base_name(place.node).startswith("conv_transpose"):
        return weight.flatten(1)
    by_group = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    return by_group.transpose(1, 2).reshape(groups * weight.shape[1], -1)


def _scale(module: GraphModule, place: Place, factors: Tensor, *, made: bool) -> None:
    """Multiply a constant, or a layer's weight along what it makes or what it reads."""
    if bool((factors == 1).all()):
        return
    if place.node.op == "get_attr":
        shape = [1] * value_of(module, place.node).dim()
        shape[place.axis] = -1
        _multiply(module, place.node, factors.reshape(shape))
        return
    weight: Any = place.node.args[1]
    old, groups = value_of(module, weight), groups_of(place.node)
    outer = base_name(place.node).startswith("conv_transpose") != made  # the axis with all groups
    tail = [1] * (old.dim() - 2)
    if outer:
        _multiply(module, weight, factors.reshape(-1, 1, *tail))
    else:
        by_group = factors.reshape(groups, 1, -1).expand(-1, len(old) // groups, -1)
        _multiply(module, weight, by_group.reshape(len(old), -1, *tail))


def _input_axis(node: Node) -> int:
    return 0 if base_name(node).startswith("conv_transpose") else 1


def _multiply(module: GraphModule, node: Any, factors: Tensor) -> None:
    """Multiply a constant, in float64."""
    replace_value(module, node, (value_of(module, node).double() * factors).float())
