"""The arguments of one call of a model, taken apart: every leaf has a name.

A positional argument bears the name of forward's parameter, one behind ``*xs`` is ``xs_0``, and
what lies in lists and dicts adds its index or key: ``batch_image``.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import ExportError, SourceError, UsageError
from edgekit.source import Arguments
from edgekit.tensors import DType

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]
_P = inspect.Parameter


@dataclass(frozen=True)
class Call:
    """One call: its leaves by name, tensors and constants, and how they make up the arguments."""

    leaves: dict[str, Any]
    structure: Any  # the pytree of (args, kwargs)

    @property
    def tensors(self) -> Tensors:
        """The leaves that are tensors."""
        import torch

        return {n: value for n, value in self.leaves.items() if isinstance(value, torch.Tensor)}

    def with_leaves(self, changed: Mapping[str, Any]) -> Call:
        """Return the call with some leaves replaced."""
        return replace(self, leaves={**self.leaves, **changed})

    def arguments(self, changed: Mapping[str, Any] | None = None) -> Arguments:
        """Put the arguments together again, with some leaves replaced."""
        from torch.utils import _pytree as pytree

        leaves = {**self.leaves, **(changed or {})}
        args, kwargs = pytree.tree_unflatten(list(leaves.values()), self.structure)
        return Arguments(args, kwargs)


def bind(
    module: torch.nn.Module, given: tuple[Any, ...] | Mapping[str, Any] | Arguments | None
) -> Call:
    """Name every leaf of the arguments, in the order of forward's parameters.

    Each tensor becomes a copy of its own: two inputs must not share memory.
    """
    import torch
    from torch.utils import _pytree as pytree

    arguments = given if isinstance(given, Arguments) else _arguments(given)
    parameters = parameter_names(module)
    rank = {name: index for index, name in enumerate(parameters)}
    ordered = sorted(arguments.kwargs, key=lambda name: rank.get(name, len(rank)))
    kwargs = {name: arguments.kwargs[name] for name in ordered}
    names = [*_positional(module, len(arguments.args)), *kwargs]
    leaves: dict[str, Any] = {}
    for name, argument in zip(names, (*arguments.args, *kwargs.values()), strict=True):
        for path, leaf in pytree.tree_flatten_with_path(argument)[0]:
            full = unique(identifier("_".join((name, *map(key_text, path)))), leaves)
            value = torch.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf
            leaves[full] = value.detach().clone() if isinstance(value, torch.Tensor) else value
    _, structure = pytree.tree_flatten((arguments.args, kwargs))
    return Call(leaves, structure)


def added(module: torch.nn.Module, call: Call, name: str, value: Any) -> Arguments:
    """Return a call's arguments and one more.

    Raises:
        UsageError: forward does not take it.
    """
    arguments = call.arguments()
    kinds = [each.kind for each in _parameters(module)]
    if name in parameter_names(module) or _P.VAR_KEYWORD in kinds:
        return Arguments(arguments.args, {**arguments.kwargs, name: value})
    if _P.VAR_POSITIONAL in kinds and not arguments.kwargs:
        return Arguments((*arguments.args, value))
    takes = dict.fromkeys((*call.leaves, *_free(module, arguments)))
    raise UsageError(
        f"The model takes no input named {name!r}.", f"Its forward() takes {', '.join(takes)}."
    )


def complete(module: torch.nn.Module, call: Call) -> None:
    """Check that forward can be called so, and that there is a tensor among its arguments.

    Raises:
        SourceError: an argument is missing or one too many, or none is a tensor.
    """
    arguments = call.arguments()
    try:
        inspect.signature(module.forward).bind(*arguments.args, **arguments.kwargs)
    except TypeError as error:
        raise SourceError(
            f"The example inputs ({', '.join(call.leaves)}) are not those of forward(): {error}.",
            f"Its forward() takes {', '.join(parameter_names(module)) or 'no arguments'}.",
        ) from error
    if not call.tensors:
        raise SourceError(
            "None of the example inputs is a tensor.", "Give tensors, e.g. (torch.randn(1, 3),)."
        )


def parameter_names(module: torch.nn.Module) -> list[str]:
    """Return the names that a module's forward takes, in order, without ``*`` and ``**`` ones."""
    variadic = (_P.VAR_POSITIONAL, _P.VAR_KEYWORD)
    return [each.name for each in _parameters(module) if each.kind not in variadic]


def dtype_of(tensor: torch.Tensor) -> DType:
    """Return a tensor's element type in edgekit's vocabulary.

    Raises:
        ExportError: it has no name there.
    """
    name = str(tensor.dtype).partition(".")[2]
    try:
        return DType(name)
    except ValueError:
        raise ExportError(
            f"The model takes, holds or returns a {name} tensor, which no artifact can hold.",
            "Convert it to one of the common element types.",
        ) from None


# -- Names -----------------------------------------------------------------------------------------


def key_text(part: Any) -> str:
    """Return one step of a pytree path as text."""
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return str(part)


def identifier(text: str) -> str:
    """Return text as a name that every format takes: ASCII letters, digits and underscores."""
    cleaned = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "tensor"
    if keyword.iskeyword(cleaned) or cleaned == "self":
        return f"{cleaned}_"
    return cleaned if not cleaned[0].isdigit() else f"_{cleaned}"


def unique(name: str, taken: Mapping[str, Any]) -> str:
    """Return `name`, with a number behind it where it is taken."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def _arguments(given: tuple[Any, ...] | Mapping[str, Any] | None) -> Arguments:
    if isinstance(given, Mapping):
        return Arguments((), dict(given))
    return Arguments(tuple(given or ()))


def _parameters(module: torch.nn.Module) -> list[inspect.Parameter]:
    return list(inspect.signature(module.forward).parameters.values())


def _positional(module: torch.nn.Module, count: int) -> list[str]:
    parameters = _parameters(module)
    by_position = (_P.POSITIONAL_ONLY, _P.POSITIONAL_OR_KEYWORD)
    names = [each.name for each in parameters if each.kind in by_position]
    star = next((each.name for each in parameters if each.kind is _P.VAR_POSITIONAL), "args")
    return [*names, *(f"{star}_{index}" for index in range(count - len(names)))][:count]


def _free(module: torch.nn.Module, arguments: Arguments) -> list[str]:
    taken = {*_positional(module, len(arguments.args)), *arguments.kwargs}
    return [name for name in parameter_names(module) if name not in taken]
