"""Legalization: bring a program into operators that one format's converter takes.

Three sources say how, tried in this order for every operator in the graph, until nothing changes:

1. `edgekit.passes.rules`: our own rewrites, each with the formats that it is for and why.
2. Nothing, where the converter accepts the operator.
3. PyTorch's own decomposition of the operator.

An operator that none of them covers is reported with the user's line before the converter sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from edgekit import passes
from edgekit.blame import traced_line
from edgekit.clock import timed
from edgekit.errors import UnsupportedOperatorError
from edgekit.passes import functionalize
from edgekit.passes.graph import calls, expand, name_of
from edgekit.passes.rules import Rule, rules_for
from edgekit.passes.tracing import Traces
from edgekit.quiet import quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

# Passes for formats without branches, complex numbers and selection by a computed index.
_REAL = ("both_branches", "complex_as_pairs", "tensor_indices")
_BEFORE = {"tflite": _REAL, "coreml": _REAL}
Accepts = Callable[[Any], bool]
_ROUNDS = 20  # a rewrite may call what needs another; none is nested that deep


def legalize(exported: ExportedProgram, format_name: str, accepts: Accepts) -> ExportedProgram:
    """Rewrite what a format's converter does not take.

    Args:
        exported: A program that `edgekit.passes.run` has been through; it is changed.
        format_name: The format, for the rules.
        accepts: Whether the format's converter takes an operator overload.

    Raises:
        UnsupportedOperatorError: nothing here knows how to express an operator.
    """
    rules = rules_for(format_name)
    declined: set[Node] = set()
    traces: Traces = {}
    changed = 0
    with quiet(), timed("legalization"):
        before: tuple[str, ...] = _BEFORE.get(format_name, ())
        if not before and any(name_of(each) == "aten.istft.default" for each in calls(exported)):
            before = ("complex_as_pairs",)  # torch.onnx takes spectra, but not back
        for result in passes.run(exported, before) if before else ():
            exported, changed = result.exported, changed + result.rewrites
        for _ in range(_ROUNDS):
            todo = [n for n in calls(exported) if n not in declined]
            rewritten = sum(
                _rewrite(exported, node, rules, accepts, declined, traces) for node in todo
            )
            changed += rewritten
            if not rewritten:
                break
            exported = functionalize.run(exported).exported  # decompositions may write in place
        if changed:
            exported = passes.run(exported, passes.AFTER_REWRITES)[-1].exported
    _refuse_unknown(exported, format_name, accepts)
    return exported


def _rewrite(
    exported: ExportedProgram,
    node: Node,
    rules: dict[str, tuple[Rule, ...]],
    accepts: Accepts,
    declined: set[Node],
    traces: Traces,
) -> bool:
    """Rewrite one node if there is need and a way; remember it otherwise."""
    name = name_of(node).removeprefix("aten.")
    for rule in rules.get(name, ()):
        rewrite = partial(rule.rewrite, node.target) if rule.is_shared else rule.rewrite
        try:
            if expand(exported, node, rewrite, traces=traces):
                return True
        except Exception as error:
            raise passes.broken(f"{rule.name} of {name}", (), error) from error
    if not accepts(node.target):
        for decomposition in _decompositions(node.target):
            if expand(exported, node, decomposition, composites=False, traces=traces):
                return True
    declined.add(node)
    return False


def _decompositions(target: Any) -> list[Callable[..., Any]]:
    """Return PyTorch's own ways to express an operator by others."""
    composite = target.decompose if target._can_decompose() else None  # noqa: SLF001
    aten = getattr(target, "impl_aten", None)  # of a primitive, which a decomposition may leave
    return [each for each in (composite, aten, _table().get(target)) if each is not None]


@cache
def _table() -> dict[Any, Callable[..., Any]]:
    import torch._decomp
    import torch._refs

    table: dict[Any, Callable[..., Any]] = torch._decomp.decomposition_table  # noqa: SLF001
    return table


def _refuse_unknown(exported: ExportedProgram, format_name: str, accepts: Accepts) -> None:
    unknown = [node for node in calls(exported) if not accepts(node.target)]
    if not unknown:
        return
    node = unknown[0]
    others = sorted({name_of(each) for each in unknown} - {name_of(node)})
    raise UnsupportedOperatorError(
        f"{format_name} has no way to express {describe(node)}"
        + (f" (nor {', '.join(others)})" if others else "")
        + ".",
        "Compute it in another way in the model, or leave it out of the model and do it in the "
        "app; other formats may take it.",
    )


def describe(node: Node) -> str:
    """Return an operator with the shapes that it reads and the user's own line that called it."""
    values: list[Any] = [each.meta.get("val") for each in node.all_input_nodes]
    shapes = ", ".join(
        f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        for value in values
        if hasattr(value, "dtype")
    )
    line = traced_line(node.meta.get("stack_trace") or "")
    return f"{name_of(node)}({shapes})" + (f", called at {line}" if line else "")
