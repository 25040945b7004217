"""Recipes as files: what `edgekit.recipefile` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgekit.recipe import Recipe, recipes


def written(recipe: Recipe, head: Iterable[str] = (), reasons: Sequence[str] = ()) -> str:
    """Return a recipe as a file that says what it changes of one of edgekit's own.

    Args:
        recipe: The recipe.
        head: Lines of comment for the top.
        reasons: One comment for each of its last overrides.
    """
    base = _nearest(recipe)
    inherited = {} if base is None else base.to_json()
    lines = [f"# {each}" for each in head]
    if base is not None:
        lines.append(f"base = {json.dumps(base.name)}")
    data = replace(recipe, aliases=()).to_json()
    overrides = data.pop("overrides")
    changed = {key: value for key, value in data.items() if value != inherited.get(key)}
    if base is not None:
        changed.pop("aliases", None)
    tables = {key: value for key, value in changed.items() if isinstance(value, dict)}
    lines += _keys({key: value for key, value in changed.items() if key not in {"name", *tables}})
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_keys(table)]
    comments = [*[""] * (len(overrides) - len(reasons)), *reasons]
    for override, comment in zip(overrides, comments, strict=True):
        lines += ["", *([f"# {comment}"] if comment else []), "[[override]]", *_keys(override)]
    return "\n".join(lines) + "\n"


def _nearest(recipe: Recipe) -> Recipe | None:
    """Return edgekit's own recipe of the same weights and activations."""
    wanted = recipe.weights, recipe.activations
    return next(
        (each for each in recipes().values() if (each.weights, each.activations) == wanted), None
    )


def _keys(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in table.items() if value is not None]
