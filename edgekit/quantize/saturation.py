"""Weights whose products fit 16 bits, two at a time.

Processors without a dot product for bytes (x86 before VNNI) multiply unsigned activations by signed
weights and add two neighbouring products in 16 bits, where a sum saturates without a word.
ONNX Runtime's kernels do so.  Where the largest sum that an output channel's weights can reach is
too large, that channel's scale is raised until it fits: by nothing for most, by little for others.
The inputs are taken to be any integers: within the ranges that calibration found per channel the
sums may fit, but an image with more contrast goes beyond these, and the answer is another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from edgekit.quantize.constants import groups_of, observer_of, value_of
from edgekit.quantize.precisions import base_name

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from edgekit.recipe import Recipe

_LARGEST = 255 * 127  # integers next to two weights that add up to 127 add up to 128 at most
_LAYERS = {"conv1d", "conv2d", "conv3d", "linear"}


def relieve(prepared: GraphModule, recipe: Recipe) -> None:
    """Raise the scales of weights that need it, unless the recipe has no need."""
    assert recipe.calibration is not None
    if recipe.calibration.reduce_range is False:
        return
    for node in prepared.graph.nodes:
        if base_name(node) not in _LAYERS:
            continue
        weights: Any = node.args[1]
        activation, observer = (observer_of(prepared, argument) for argument in node.args[:2])
        if activation is None or observer is None or activation.dtype is not torch.int8:
            continue
        weight = value_of(prepared, weights.args[0])
        if groups_of(node) == len(weight) > 1 == weight.shape[1]:
            continue  # depthwise: other kernels, with room enough
        factor = _excess(weight, observer)
        observer.min_val, observer.max_val = observer.min_val * factor, observer.max_val * factor


def _excess(weight: Tensor, observer: Any) -> Tensor:
    """Return by how much the sums of each output channel exceed 16 bits; 1 where they do not."""
    integers = weight / observer.calculate_qparams()[0].reshape(-1, *[1] * (weight.dim() - 1))
    rows = integers.movedim(1, -1).flatten(1)  # channels last
    sums = [_in_pairs(255 * each).abs().amax(1) for each in (rows.clamp(min=0), rows.clamp(max=0))]
    return (torch.maximum(*sums) / _LARGEST).clamp(min=1.0)


def _in_pairs(values: Tensor) -> Tensor:
    odd = values.shape[-1] % 2
    padded = torch.nn.functional.pad(values, (0, odd))
    return padded[..., ::2] + padded[..., 1::2]
