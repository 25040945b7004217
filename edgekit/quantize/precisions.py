"""What each operator of a graph is made in, as a recipe and its overrides say."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError
from edgekit.layers import layer_of

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

    from edgekit.recipe import Override, Precision, Recipe


def base_name(node: Any) -> str:
    """Return the operator that a node calls, as ``conv2d``; empty for what is no operator."""
    if getattr(node, "op", None) != "call_function" or not hasattr(node.target, "_schema"):
        return ""
    space, _, rest = str(node.target).partition(".")
    return rest.partition(".")[0] if space == "aten" else ""


def precision_of(node: Node, recipe: Recipe) -> Precision:
    """Return what an operator is made in."""
    return recipe.at(layer_of(node), base_name(node))


def check(exported: ExportedProgram, recipe: Recipe) -> None:
    """Check a recipe's overrides on the graph that they are for.

    Raises:
        UsageError: one is for nothing in the graph, so its pattern is a mistake; or several make
            no sense together.
    """
    found = [(layer_of(node), base_name(node)) for node in exported.graph.nodes if base_name(node)]
    for each in found:
        if wrong := recipe.at(*each).contradiction:
            raise UsageError(
                f"Recipe {recipe.name}: {each[1]} in layer {each[0]!r} matches several overrides, "
                f"and together they make no sense: {wrong}."
            )
    for override in recipe.overrides:
        if not any(override.matches(*each) for each in found):
            raise UsageError(
                f"Recipe {recipe.name}: no operator of this model matches the override {override}.",
                _hint(override, found),
            )


def _hint(override: Override, found: list[tuple[str, str]]) -> str:
    operators = sorted({operator for _, operator in found})
    layers = list(dict.fromkeys(layer for layer, _ in found if layer))
    if override.operator is not None and override.operator not in operators:
        near = difflib.get_close_matches(override.operator, operators, n=1)
        return f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(operators)}."
    near = difflib.get_close_matches(override.layer or "", layers, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Its layers are {', '.join(layers[:8])}{' and others' if len(layers) > 8 else ''}."
