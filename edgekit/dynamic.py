"""Dimensions that may vary: as the user gives them, as torch takes them, as signatures say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.arguments import Tensors, dtype_of
from edgekit.errors import SourceError, UsageError
from edgekit.inputs import InputSpec, dim_name, fitted
from edgekit.tensors import Dim, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

Ranges = dict[str, dict[int, Dim]]  # input name -> axis -> range


def ranges_of(
    tensors: Tensors, specs: tuple[InputSpec, ...], given: Mapping[str, Any], model: Any
) -> Ranges:
    """Return the dynamic dimensions by input and axis.

    Args:
        tensors: The example inputs.
        specs: Inputs as the user describes them.
        given: By input name, then by axis: a ``torch.export.Dim`` (named, AUTO or DYNAMIC), a pair
            (min, max), or None, a number or ``Dim.STATIC`` for a fixed size.
        model: An ``ExportedProgram`` brings its own; what the user says goes before it.

    Raises:
        SourceError: there is no such input or axis.
        UsageError: a dimension is given in another form, or one name has two ranges.
    """
    found = _own(tensors, model)
    for spec in specs:
        found[spec.name] = spec.dynamic
    for name, axes in given.items():
        pairs = axes.items() if isinstance(axes, Mapping) else enumerate(axes or ())
        dims = {axis: _as_dim(name, axis, dim) for axis, dim in pairs}
        found[name] = {axis: dim for axis, dim in dims.items() if dim is not None}
    found = {name: axes for name, axes in found.items() if axes}
    _check(found, tensors)
    return found


def resized(tensors: Tensors, ranges: Ranges) -> Tensors:
    """Bring the examples to sizes to trace with: torch takes a dynamic size below two for fixed."""
    changed = {}
    for name, axes in ranges.items():
        shape = list(tensors[name].shape)
        for axis, dim in axes.items():
            size = max(shape[axis], dim.min, 2)
            shape[axis] = max(dim.sizes, default=size if dim.max is None else min(size, dim.max))
        changed[name] = _fit(tensors[name], tuple(shape), name)
    return changed


def other_sizes(tensors: Tensors, ranges: Ranges) -> tuple[Tensors, ...]:
    """Return the examples at further sizes of their dynamic dimensions.

    A range is tried at its least, and at one more than the examples have; a list at every size.
    """
    known = {d: tensors[n].shape[a] for n, axes in ranges.items() for a, d in axes.items()}
    others = {
        dim: dim.sizes[:-1] or (max(1, dim.min), min(size + 1, dim.max or size + 1))
        for dim, size in known.items()
    }
    sets = []
    for turn in range(max(map(len, others.values()), default=0)):
        made = dict(tensors)
        for name, axes in ranges.items():
            shape = list(tensors[name].shape)
            for axis, dim in axes.items():
                shape[axis] = others[dim][turn % len(others[dim])]
            made[name] = _fit(tensors[name], tuple(shape), name)
        sets.append(made)
    return tuple(sets)


def torch_shapes(tensors: Tensors, ranges: Ranges) -> dict[str, dict[int, Any]] | None:
    """Return the ranges as ``torch.export`` takes them; None when nothing varies."""
    import torch

    if not ranges:
        return None
    return {
        name: {
            axis: torch.export.Dim(dim.name, min=dim.min, max=dim.max)
            for axis, dim in ranges.get(name, {}).items()
        }
        for name in tensors
    }


def input_spec(name: str, tensor: torch.Tensor, ranges: Ranges) -> TensorSpec:
    """Describe one input."""
    axes = ranges.get(name, {})
    shape = tuple(axes.get(axis, size) for axis, size in enumerate(tensor.shape))
    return TensorSpec(name, dtype_of(tensor), shape)


def output_specs(
    exported: ExportedProgram, outputs: Tensors, ranges: Ranges
) -> tuple[TensorSpec, ...]:
    """Describe the outputs; a symbolic size keeps the name and range of the input's dimension."""
    values = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    symbols = {
        values[name].shape[axis].node.expr: dim
        for name, axes in ranges.items()
        for axis, dim in axes.items()
        if name in values and not isinstance(values[name].shape[axis], int)
    }
    results = [node.meta["val"] for node in exported.graph.output_node().args[0]]
    return tuple(
        TensorSpec(
            name,
            dtype_of(tensor),
            tuple(
                size if isinstance(size, int) else _symbolic(exported, size, symbols)
                for size in value.shape
            ),
        )
        for (name, tensor), value in zip(outputs.items(), results[-len(outputs) :], strict=True)
    )


_FIXED = re.compile(
    r"You marked (\w+) as dynamic but your code specialized it to be a constant \((\d+)\)"
)
_EQUAL = re.compile(r"The values of (\w+) = \S+ and (\w+) = \S+ must always be equal")
_GUARD = re.compile(
    r"Not all values of (\w+) = .* in the specified range (.*) satisfy the generated guard (.*)\."
)
_FIX = re.compile(r"^\s+(\w+ = [^\s=].*)$", re.MULTILINE)


def explain(error: Exception) -> tuple[str, str] | None:
    """Return torch's account of dimensions that cannot vary as asked: a sentence and a hint."""
    text = str(error)
    parts = [
        f"{name} cannot vary, because the model fixes it at {size}"
        for name, size in _FIXED.findall(text)
    ]
    parts += [f"{left} and {right} are always equal" for left, right in _EQUAL.findall(text)]
    parts += [
        f"{name} cannot take every size in {bounds}, because the model needs {guard}"
        for name, bounds, guard in _GUARD.findall(text)
    ]
    if not parts:
        return None
    fixes = list(dict.fromkeys(_FIX.findall(text.partition("Suggested fixes:")[2])))
    return "; ".join(dict.fromkeys(parts)), (
        f"What torch.export would take: {', '.join(fixes)}; equal dimensions need equal names."
        if fixes
        else "Narrow the range, or give one number."
    )


# -- Details ---------------------------------------------------------------------------------------


def _own(tensors: Tensors, model: Any) -> Ranges:
    """Return the dynamic dimensions that an exported program was made with."""
    import torch

    if not isinstance(model, torch.export.ExportedProgram):
        return {}
    values = {node.name: node.meta.get("val") for node in model.graph.nodes}
    inputs = [values.get(str(name)) for name in model.graph_signature.user_inputs]
    shapes = [value.shape for value in inputs if isinstance(value, torch.Tensor)]
    return {
        name: {
            axis: _symbolic(model, size, {})
            for axis, size in enumerate(shape)
            if not isinstance(size, int)
        }
        for name, shape in zip(tensors, shapes, strict=False)
    }


def _as_dim(name: str, axis: int, given: Any) -> Dim | None:
    if given is None or isinstance(given, int) or "STATIC" in str(getattr(given, "type", "")):
        return None
    if isinstance(given, Dim):
        return given
    if isinstance(given, tuple) and 1 <= len(given) <= 2:
        return Dim(dim_name(name, axis), *given)
    if not hasattr(given, "min") or hasattr(given, "root"):
        raise UsageError(
            f"Dimension {axis} of {name!r} is given as {given!r}.",
            "Give a torch.export.Dim, a pair (min, max), or None.",
        )
    low, high = given.min, given.max
    return Dim(
        getattr(given, "__name__", None) or dim_name(name, axis),
        max(1, low) if isinstance(low, int) else 1,
        high if isinstance(high, int) and high < 2**31 else None,
    )


def _check(ranges: Ranges, tensors: Tensors) -> None:
    known: dict[str, Dim] = {}
    for name, axes in ranges.items():
        if name not in tensors:
            raise SourceError(
                f"There is no input named {name!r} to make dynamic.",
                f"The inputs are {', '.join(tensors)}.",
            )
        for axis, dim in axes.items():
            if not 0 <= axis < tensors[name].dim():
                raise SourceError(
                    f"Input {name!r} has no dimension {axis} to make dynamic.",
                    f"It has {tensors[name].dim()}, counted from 0.",
                )
            if known.setdefault(dim.name, dim) != dim:
                raise UsageError(
                    f"Dimension {dim.name!r} has two ranges: {known[dim.name]} and {dim}.",
                    "Give both the same range, or other names, e.g. rows=1..8.",
                )


def _fit(tensor: torch.Tensor, shape: tuple[int, ...], name: str) -> torch.Tensor:
    made = fitted(tensor, shape)
    if made is None:
        raise SourceError(
            f"The example for input {name!r} is empty, so its dimensions cannot vary.",
            "Give an example that holds values.",
        )
    return made


def _symbolic(exported: ExportedProgram, size: Any, symbols: Mapping[Any, Dim]) -> Dim:
    """Return a symbolic size: an input's dimension, or an expression of such, with its bounds."""
    import sympy  # type: ignore[import-untyped]
    from torch.utils._sympy.value_ranges import bound_sympy

    expression = size.node.expr
    if expression in symbols:
        return symbols[expression]
    names = {symbol: sympy.Symbol(dim.name) for symbol, dim in symbols.items()}
    bounds = bound_sympy(expression, exported.range_constraints)
    low, high = (int(b) if b.is_Integer else None for b in (bounds.lower, bounds.upper))
    return Dim(str(expression.xreplace(names)), max(0, low or 0), high)
