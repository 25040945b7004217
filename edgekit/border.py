"""The flat border: what is traced is the model behind it.

Each tensor that goes in is a keyword argument, and the result is one flat dict.  So every tensor
has a name before any converter sees it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.arguments import Call, Tensors, dtype_of, identifier, key_text, unique
from edgekit.errors import ExportError

if TYPE_CHECKING:
    import torch


def make_border(
    module: torch.nn.Module, call: Call, overwritten: frozenset[str] = frozenset()
) -> torch.nn.Module:
    """Wrap `module` so that tensors go in by keyword and come out as one flat dict.

    Args:
        module: The model.
        call: The call that says which tensors there are, and what surrounds them.
        overwritten: Inputs that the model writes into: it is given copies of these.
    """
    import torch

    def forward(self: Any, **tensors: torch.Tensor) -> Tensors:
        own = {name: t.clone() if name in overwritten else t for name, t in tensors.items()}
        arguments = call.arguments(own)
        result = self.model(*arguments.args, **arguments.kwargs)
        return name_outputs(result, {**tensors, **own})

    by_name = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in call.tensors]
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    # torch.export looks dynamic shapes up by these names
    forward.__signature__ = inspect.Signature([me, *by_name])  # type: ignore[attr-defined]
    border: torch.nn.Module = type("Border", (torch.nn.Module,), {"forward": forward})()
    border.add_module("model", module)
    border.training = False  # not eval(): the modules of a .pt2 program refuse that
    return border


def name_outputs(result: Any, inputs: Mapping[str, torch.Tensor]) -> Tensors:
    """Flatten what a model returned into named tensors.

    A single tensor is ``output``, a sequence ``output_0``, ``output_1``..., and what has keys or
    fields keeps their names.  None is left out.  A tensor that stands there twice, or is an input,
    becomes a copy.

    Raises:
        ExportError: the model returns something that is not a tensor, or no tensor at all.
    """
    import torch
    from torch.utils import _pytree as pytree

    named: Tensors = {}
    taken = {id(tensor) for tensor in inputs.values()}
    for path, value in pytree.tree_flatten_with_path(_plain(result))[0]:
        if value is None:
            continue
        if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
            kind = "sparse tensor" if isinstance(value, torch.Tensor) else type(value).__name__
            raise ExportError(
                f"The model returns a {kind} beside its tensors.",
                "Return dense tensors only: an artifact has nothing else to give.",
            )
        dtype_of(value)
        keys = [key_text(part) for part in path]
        name = identifier("_".join(keys if keys and not keys[0].isdigit() else ["output", *keys]))
        named[unique(name, {**named, **inputs})] = value.clone() if id(value) in taken else value
        taken.add(id(value))
    if not named:
        raise ExportError("The model returns no tensor.", "Return at least one tensor.")
    return named


def _plain(value: Any) -> Any:
    """Turn dataclasses, which pytree takes for leaves, into dicts of their fields."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {each.name: _plain(getattr(value, each.name)) for each in fields}
    if type(value) in (list, tuple):
        return [_plain(each) for each in value]
    return value
