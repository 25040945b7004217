"""The weights of recurrent layers: in 8 bits in every recipe with integer weights.

Such a layer is one node of the graph and computes in float there.  Where a recipe has 8-bit
activations, a format may round to 8 bits what the layer's products read, as the model runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.passes.graph import name_of
from edgekit.passes.last_step import LAYERS
from edgekit.quantize.precisions import precision_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.fx import Graph, Node

    from edgekit.recipe import Precision, Recipe


def weights(graph: Graph, recipe: Recipe) -> Iterator[tuple[Node, Node, Precision]]:
    """Yield recurrent layers, the matrices that they multiply by, and what those are made in."""
    for node in list(graph.nodes):
        if name_of(node) in LAYERS and precision_of(node, recipe).has_integer_weights:
            matrices: Any = [each for each in node.args[2] if each.meta["val"].dim() > 1]
            for weight in matrices:
                yield node, weight, _in_8_bits(precision_of(node, recipe))


def _in_8_bits(asked: Precision) -> Precision:
    """Return a precision of float layers: fewer bits add up from step to step."""
    rounds = asked.activations in {"int8", "dynamic"}
    shared = "channel" if asked.block_size else asked.granularity
    activations = "dynamic" if rounds else "float32"
    return replace(asked, weights="int8", activations=activations, granularity=shared)
