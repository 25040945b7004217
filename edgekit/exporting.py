"""From a source to a `Program`: call the model, trace it once, name everything that crosses.

::

    source ─ example_call ─▶ Call ─ make_border ─▶ border ─┬─ eager, twice ─▶ references
                                                           └─ torch.export ─▶ ExportedProgram
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekit import dynamic as dimensions
from edgekit.arguments import Tensors, dtype_of
from edgekit.blame import first_line, user_line
from edgekit.border import make_border
from edgekit.dynamic import Ranges
from edgekit.errors import ExportError, SourceError
from edgekit.fused import layers_kept
from edgekit.guard import frozen, unchanged, version_of
from edgekit.inputs import InputSpec, example_call, split_samples, vary
from edgekit.processing.baking import PIXELS, Picture, bake
from edgekit.program import Program
from edgekit.quiet import quiet
from edgekit.runtimes import Array, Arrays
from edgekit.source import Source
from edgekit.tensors import Signature

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


def toolchain() -> dict[str, str]:
    """Return the versions of what shapes an exported program, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in ("torch", "torchao", "safetensors", "numpy", "transformers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def export(
    source: Source,
    *,
    inputs: tuple[InputSpec, ...] = (),
    dynamic: Mapping[str, Any] | None = None,
    samples: list[Arrays] | None = None,
    pictures: Mapping[str, Picture] | None = None,
) -> Program:
    """Export a source's module, which is left as it was.

    The program shares the module's weights: save it before they are trained further.

    Args:
        source: What `load_source` returned, or a Source made of a module in memory.
        inputs: Shapes (and types, and ranges of dynamic dimensions) given by the user; they go
            before the source's own examples.
        dynamic: Dynamic dimensions by input name, then by axis; see `edgekit.dynamic.ranges_of`.
        samples: Stored arrays to verify on; None for the examples, two seeded variations of them,
            and two further sizes where dimensions vary.
        pictures: Inputs that take pixels in the program, by name, and what is baked for each.

    Raises:
        SourceError: there are no example inputs, or the module cannot be called with them.
        ExportError: torch.export refuses the module, or it is no function of its inputs.
    """
    with frozen(source.module) as module:
        call = example_call(module, source.examples, inputs)
        ranges = dimensions.ranges_of(call.tensors, inputs, dynamic or {}, source.module)
        call = call.with_leaves(dimensions.resized(call.tensors, ranges))
        with unchanged(module):
            border = make_border(module, call)
            first = _eager(border, call.tensors, source.origin)
            again = _eager(border, call.tensors, source.origin)
            _refuse_chance(first.outputs, again.outputs)
        if first.overwritten:
            border = make_border(module, call, first.overwritten)
        tensors = call.tensors
        if pictures:
            border, tensors = bake(border, tensors, pictures)
        exported = _trace(border, tensors, ranges)
        sets, references = _samples(border, tensors, ranges, samples, source.origin)
    specs = (dimensions.input_spec(name, each, ranges) for name, each in tensors.items())
    signature = Signature(
        tuple(replace(s, layout=PIXELS) if s.name in (pictures or {}) else s for s in specs),
        dimensions.output_specs(exported, first.outputs, ranges),
    )
    return Program(exported, signature, sets, references, source.metadata, source.origin)


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return a tensor's values as an array of the caller's own; bfloat16 widens to float32."""
    import torch

    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    wide = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    return wide.numpy().copy()


# -- Calling ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Result:
    outputs: Tensors
    overwritten: frozenset[str]  # the inputs that the model wrote into


def _eager(border: torch.nn.Module, tensors: Tensors, origin: str) -> _Result:
    import torch

    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    before = {name: version_of(tensor) for name, tensor in copies.items()}
    try:
        with torch.no_grad():
            outputs: Tensors = border(**copies)
    except ExportError:
        raise
    except Exception as error:
        line = user_line(error)
        raise SourceError(
            f"{origin}: the model fails on its example inputs ({_shapes(tensors)})"
            f"{f' at {line}' if line else ''}: {first_line(error)}",
            "Check the shapes and types of the example inputs.",
        ) from error
    written = {name for name, tensor in copies.items() if version_of(tensor) != before[name]}
    return _Result(outputs, frozenset(written))


def _shapes(tensors: Tensors) -> str:
    return ", ".join(f"{n} {dtype_of(t).value}{list(t.shape)}" for n, t in tensors.items())


def _refuse_chance(first: Tensors, again: Tensors) -> None:
    """Refuse a model that gives other outputs for the same inputs."""
    for name, tensor in first.items():
        if name not in again or not _same(tensor, again[name]):
            raise ExportError(
                f"The model's output {name!r} differs between two calls with the same inputs.",
                "It draws random numbers or keeps state; an artifact must do neither: take the "
                "randomness out, or pass the state in and return it.",
            )


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    import torch

    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if torch.equal(left, right) or not left.numel():
        return True
    if not left.is_floating_point():
        return False
    wide = left.double()
    peak = float(wide.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return torch.allclose(wide, right.double(), rtol=0.0, atol=1e-5 * peak, equal_nan=True)


def _samples(
    border: torch.nn.Module,
    tensors: Tensors,
    ranges: Ranges,
    stored: list[Arrays] | None,
    origin: str,
) -> tuple[tuple[Arrays, ...], tuple[Arrays, ...]]:
    """Return the input sets to verify on, and the model's own outputs for each.

    A seeded variation that the model itself refuses is left out.
    """
    example = {name: to_numpy(tensor) for name, tensor in tensors.items()}
    sets: list[Tensors] = []
    refused: list[int] = []
    if stored is not None:
        sets += [_tensors(each, tensors) for each in split_samples(stored, example)]
    else:
        sets += [_tensors(each, tensors) for each in vary(example)]
        refused += range(1, len(sets))
        sets += dimensions.other_sizes(tensors, ranges)
    inputs, outputs = [], []
    for index, each in enumerate(sets):
        try:
            result = _eager(border, each, origin).outputs
        except SourceError:
            if index in refused:
                continue
            raise
        inputs.append({name: to_numpy(tensor) for name, tensor in each.items()})
        outputs.append({name: to_numpy(tensor) for name, tensor in result.items()})
    return tuple(inputs), tuple(outputs)


def _tensors(arrays: Arrays, like: Tensors) -> Tensors:
    """Return arrays as tensors of the model's own element types."""
    import torch

    return {name: torch.from_numpy(arrays[name]).to(each.dtype) for name, each in like.items()}


# -- Tracing ---------------------------------------------------------------------------------------


def _trace(border: torch.nn.Module, tensors: Tensors, ranges: Ranges) -> ExportedProgram:
    """Run torch.export, non-strict first: it takes more models; strict takes some others."""
    import torch

    reasons: dict[str, Exception] = {}
    for strict in (False, True):
        try:
            # without gradients, or they leave their mark
            with quiet(), layers_kept(), torch.no_grad():
                exported = torch.export.export(
                    border,
                    (),
                    {name: tensor.clone() for name, tensor in tensors.items()},
                    dynamic_shapes=dimensions.torch_shapes(tensors, ranges),
                    strict=strict,
                )
        except Exception as error:  # noqa: BLE001 - torch raises anything; both reasons are kept
            reasons["strict" if strict else "non-strict"] = error
        else:
            _tidy(exported)
            return exported
    raise _export_error(reasons)


def _export_error(reasons: dict[str, Exception]) -> ExportError:
    line = next(filter(None, map(user_line, reasons.values())), None)
    place = f" at {line}" if line else ""
    told = next(filter(None, map(dimensions.explain, reasons.values())), None)
    if told is not None:
        failure = ExportError(f"The dimensions cannot vary as asked{place}: {told[0]}.", told[1])
    else:
        texts = [
            f"{mode}: {type(error).__name__}: {first_line(error).rstrip('.')}"
            for mode, error in reasons.items()
        ]
        failure = ExportError(
            f"torch.export cannot trace the model{place} ({'; '.join(texts)}).",
            "Its control flow must not depend on tensor values: use torch.where or torch.cond "
            "there; -v shows both tracebacks.",
        )
    failure.__cause__ = ExceptionGroup("torch.export failed both ways", list(reasons.values()))
    return failure


def _tidy(exported: ExportedProgram) -> None:
    """Drop the weights that nothing uses, and freeze the others without copying them."""
    import torch

    signature = exported.graph_signature
    unused = {node for node in exported.graph.find_nodes(op="placeholder") if not node.users}
    names = {node.name for node in unused} - set(signature.user_inputs)
    for node in unused:
        if node.name in names:
            exported.graph.erase_node(node)
    specs = signature.input_specs
    specs[:] = [each for each in specs if each.arg.name not in names]
    kept = {each.target for each in specs}
    exported.graph_module.recompile()
    exported._state_dict = {  # noqa: SLF001 - torch offers no public way
        name: torch.nn.Parameter(tensor.detach(), requires_grad=False)
        if isinstance(tensor, torch.nn.Parameter)
        else tensor
        for name, tensor in exported.state_dict.items()
        if name in kept
    }
    for name in [name for name in exported.constants if name not in kept]:
        del exported.constants[name]
