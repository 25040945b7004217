"""From a source to a `Program`: call the model once, trace it once, name everything that crosses.

What is traced is the model behind a flat border: each tensor that goes in is a keyword argument,
and the result is one flat dict.  So every tensor has a name before any converter sees it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.blame import first_line, user_line
from edgekit.errors import ExportError, SourceError
from edgekit.inputs import InputSpec, argument_names, example_inputs, split_samples, vary
from edgekit.program import Program
from edgekit.runtimes import Array, Arrays
from edgekit.source import Source
from edgekit.tensors import Dim, DType, Shape, Signature, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

Tensors = dict[str, "torch.Tensor"]
Dynamic = dict[str, dict[int, Dim]]  # input name -> axis -> range


def export(
    source: Source,
    *,
    inputs: tuple[InputSpec, ...] = (),
    dynamic: Mapping[str, Any] | None = None,
    samples: list[Arrays] | None = None,
) -> Program:
    """Export a source's module.

    Args:
        source: What `load_source` returned, or a Source made of a module in memory.
        inputs: Shapes (and types, and ranges of dynamic dimensions) given by the user; they go
            before the source's own examples.
        dynamic: Dynamic dimensions as ``torch.export`` takes them: by input name, then by axis.
        samples: Stored arrays to verify on; None for the examples and two seeded variations.

    Raises:
        SourceError: there are no example inputs, or the module cannot be called with them.
        ExportError: torch.export refuses the module.
    """
    module = _module(source)
    call = _flatten(module, example_inputs(module, source.examples, inputs))
    ranges = _ranges(call.tensors, inputs, dynamic or {})
    border = _border(module, call)
    first = _eager(border, call.tensors, source.origin)
    exported = _trace(border, call.tensors, ranges)
    example = {name: to_numpy(tensor) for name, tensor in call.tensors.items()}
    sets = vary(example) if samples is None else split_samples(samples, example)
    references = tuple(_reference(border, each, source.origin) for each in sets)
    signature = Signature(
        tuple(_spec(name, tensor, ranges.get(name, {})) for name, tensor in call.tensors.items()),
        _output_specs(exported, first, ranges),
    )
    return Program(exported, signature, sets, references, source.metadata, source.origin)


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return a tensor's values as an array of the caller's own; bfloat16 widens to float32."""
    import torch

    tensor = tensor.detach().cpu()
    wide = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    return wide.numpy().copy()


# -- The flat border -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """One call of the model: its tensors by name, and how to rebuild the arguments from them."""

    tensors: Tensors
    leaves: tuple[Any, ...]  # a tensor's name, or the constant itself
    is_tensor: tuple[bool, ...]
    structure: Any  # the pytree of (args, kwargs)


def _module(source: Source) -> torch.nn.Module:
    import torch

    if isinstance(source.module, torch.export.ExportedProgram):
        return source.module.module()
    module: torch.nn.Module = source.module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def _flatten(module: torch.nn.Module, examples: tuple[Any, ...] | dict[str, Any]) -> _Call:
    """Give every tensor among the example arguments a name."""
    import torch
    from torch.utils import _pytree as pytree

    named = (
        examples
        if isinstance(examples, dict)
        else dict(zip(_positional(module, len(examples)), examples, strict=True))
    )
    arguments = ((), named) if isinstance(examples, dict) else (examples, {})
    _, structure = pytree.tree_flatten(arguments)
    paths = pytree.tree_flatten_with_path(named)[0]
    tensors: Tensors = {}
    leaves: list[Any] = []
    for path, value in paths:
        if isinstance(value, torch.Tensor):
            name = _unique(_identifier("_".join(_key(part) for part in path)), tensors)
            tensors[name] = value.detach()
            leaves.append(name)
        else:
            leaves.append(value)
    flags = tuple(isinstance(value, torch.Tensor) for _, value in paths)
    if not tensors:
        raise SourceError(
            "None of the example inputs is a tensor.", "Give tensors, e.g. (torch.randn(1, 3),)."
        )
    return _Call(tensors, tuple(leaves), flags, structure)


def _positional(module: torch.nn.Module, count: int) -> list[str]:
    names = argument_names(module)
    return [names[i] if i < len(names) else f"args_{i}" for i in range(count)]


def _border(module: torch.nn.Module, call: _Call) -> torch.nn.Module:
    """Wrap `module` so that tensors go in by keyword and come out as one flat dict."""
    import torch
    from torch.utils import _pytree as pytree

    class Border(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, **tensors: torch.Tensor) -> Tensors:
            leaves = [
                tensors[leaf] if named else leaf
                for leaf, named in zip(call.leaves, call.is_tensor, strict=True)
            ]
            args, kwargs = pytree.tree_unflatten(leaves, call.structure)
            return name_outputs(self.model(*args, **kwargs), tensors)

    return Border().eval()


def name_outputs(result: Any, inputs: Mapping[str, torch.Tensor]) -> Tensors:
    """Flatten what a model returned into named tensors.

    A single tensor is ``output``, a sequence ``output_0``, ``output_1``..., and what has keys keeps
    them.  None is left out.  A tensor that stands there twice, or is an input, becomes a copy.

    Raises:
        ExportError: the model returns something that is not a tensor, or no tensor at all.
    """
    import torch
    from torch.utils import _pytree as pytree

    named: Tensors = {}
    taken = {id(tensor) for tensor in inputs.values()}
    for path, value in pytree.tree_flatten_with_path(result)[0]:
        if value is None:
            continue
        if not isinstance(value, torch.Tensor):
            raise ExportError(
                f"The model returns a {type(value).__name__} beside its tensors.",
                "Return tensors only: an artifact has nothing else to give.",
            )
        keys = [_key(part) for part in path]
        name = _identifier("_".join(keys if keys and not keys[0].isdigit() else ["output", *keys]))
        named[_unique(name, {**named, **inputs})] = value.clone() if id(value) in taken else value
        taken.add(id(value))
    if not named:
        raise ExportError("The model returns no tensor.", "Return at least one tensor.")
    return named


def _key(part: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return str(part)


def _identifier(text: str) -> str:
    cleaned = re.sub(r"\W+", "_", text).strip("_") or "output"
    return cleaned if not cleaned[0].isdigit() else f"_{cleaned}"


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


# -- Calling and tracing ---------------------------------------------------------------------------


def _eager(border: torch.nn.Module, tensors: Tensors, origin: str) -> Tensors:
    import torch

    try:
        with torch.no_grad():  # on copies: a model may write into its inputs
            result: Tensors = border(**{name: tensor.clone() for name, tensor in tensors.items()})
    except ExportError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        line = user_line(error)
        raise SourceError(
            f"{origin}: the model fails on its example inputs ({shapes})"
            f"{f' at {line}' if line else ''}: {first_line(error)}",
            "Check the shapes and types of the example inputs.",
        ) from error
    return result


def _reference(border: torch.nn.Module, feeds: Arrays, origin: str) -> Arrays:
    import torch

    outputs = _eager(border, {name: torch.from_numpy(a) for name, a in feeds.items()}, origin)
    return {name: to_numpy(tensor) for name, tensor in outputs.items()}


def _trace(border: torch.nn.Module, tensors: Tensors, ranges: Dynamic) -> ExportedProgram:
    """Run torch.export, non-strict first: it takes more models; strict takes some others."""
    import torch

    shapes = {"tensors": {name: _torch_dims(ranges.get(name, {})) for name in tensors}}
    reasons: dict[str, Exception] = {}
    for strict in (False, True):
        try:
            exported = torch.export.export(
                border,
                (),
                dict(tensors),
                dynamic_shapes=shapes if ranges else None,
                strict=strict,
            )
        except Exception as error:  # noqa: BLE001 - torch raises anything; both reasons are kept
            reasons["strict" if strict else "non-strict"] = error
        else:
            _refuse_state(exported)
            return exported
    raise _export_error(reasons)


def _export_error(reasons: dict[str, Exception]) -> ExportError:
    line = next(filter(None, map(user_line, reasons.values())), None)
    texts = [
        f"{mode}: {type(error).__name__}: {first_line(error)}" for mode, error in reasons.items()
    ]
    failure = ExportError(
        f"torch.export cannot trace the model{f' at {line}' if line else ''} ({'; '.join(texts)}).",
        "Its control flow must not depend on tensor values: use torch.where or torch.cond there; "
        "-v shows both tracebacks.",
    )
    failure.__cause__ = ExceptionGroup("torch.export failed both ways", list(reasons.values()))
    return failure


def _refuse_state(exported: ExportedProgram) -> None:
    changed = sorted(exported.graph_signature.buffers_to_mutate.values())
    if changed:
        name = changed[0].removeprefix("model.")
        raise ExportError(
            f"The model changes its own buffer {name!r} when it is called.",
            "An artifact keeps no state between calls: pass the state in and return it.",
        )


# -- Shapes ----------------------------------------------------------------------------------------


def _ranges(tensors: Tensors, specs: tuple[InputSpec, ...], dynamic: Mapping[str, Any]) -> Dynamic:
    found = {spec.name: spec.dynamic for spec in specs if spec.dynamic}
    for name, axes in dynamic.items():
        pairs = axes.items() if isinstance(axes, Mapping) else enumerate(axes or ())
        dims = {axis: _as_dim(name, axis, dim) for axis, dim in pairs if dim is not None}
        if dims:
            found[name] = dims
    unknown = sorted(set(found) - set(tensors))
    if unknown:
        raise SourceError(
            f"There is no input named {unknown[0]!r} to make dynamic.",
            f"The inputs are {', '.join(tensors)}.",
        )
    return found


def _as_dim(name: str, axis: int, given: Any) -> Dim:
    if isinstance(given, Dim):
        return given
    if isinstance(given, tuple):
        return Dim(f"{name}_{axis}", *given)
    low, high = getattr(given, "min", None), getattr(given, "max", None)
    bounded = high if isinstance(high, int) and high < 2**31 else None
    return Dim(
        getattr(given, "__name__", f"{name}_{axis}"), low if isinstance(low, int) else 1, bounded
    )


def _torch_dims(ranges: dict[int, Dim]) -> dict[int, Any]:
    import torch

    return {axis: torch.export.Dim(d.name, min=d.min, max=d.max) for axis, d in ranges.items()}


def _spec(name: str, tensor: torch.Tensor, ranges: Mapping[int, Dim]) -> TensorSpec:
    shape: Shape = tuple(ranges.get(axis, size) for axis, size in enumerate(tensor.shape))
    return TensorSpec(name, DType(str(tensor.dtype).partition(".")[2]), shape)


def _output_specs(
    exported: ExportedProgram, outputs: Tensors, ranges: Dynamic
) -> tuple[TensorSpec, ...]:
    """Describe the outputs; a symbolic size keeps the name and range of the input's dimension."""
    dims = {dim.name: dim for axes in ranges.values() for dim in axes.values()}
    nodes = exported.graph.output_node().args[0]
    values = [node.meta["val"] for node in nodes][-len(outputs) :]
    specs = []
    for (name, tensor), value in zip(outputs.items(), values, strict=True):
        shape = tuple(
            size if isinstance(size, int) else _symbolic(exported, size, dims)
            for size in value.shape
        )
        specs.append(TensorSpec(name, DType(str(tensor.dtype).partition(".")[2]), shape))
    return tuple(specs)


def _symbolic(exported: ExportedProgram, size: Any, dims: Mapping[str, Dim]) -> Dim:
    expression = size.node.expr
    limits = exported.range_constraints.get(expression)
    if limits is not None:
        low, high = int(limits.lower), limits.upper
        for dim in dims.values():
            if dim.min == low and (dim.max is None or dim.max == int(high)):
                return dim
    return Dim(str(expression), 0, None)
