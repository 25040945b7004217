"""Know a hard sigmoid and a hard swish that an author wrote out.

``x * relu6(x + 3) / 6`` is four operators, each a pass over the values, or one that every runtime
has a kernel for, and integer runtimes a table.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgekit.passes import PassResult
from edgekit.passes.graph import calls, name_of, replace_node

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.export import ExportedProgram
    from torch.fx import Node

_SIXTH = 1 / 6
_CLAMPS = {  # what they cut to, where no arguments say it
    "aten.relu6.default": (0, 6),
    "aten.hardtanh.default": (-1, 1),
    "aten.clamp.default": (None, None),
}


def run(exported: ExportedProgram) -> PassResult:
    """Put one operator where several compute it; those that others read as well stay too."""
    import torch

    found = 0
    kinds: list[tuple[Callable[[Node], Any], Any]] = [
        (_swish_of, torch.ops.aten.hardswish.default),
        (_sigmoid_of, torch.ops.aten.hardsigmoid.default),
    ]
    for node in calls(exported):
        for source_of, operator in kinds:
            source = source_of(node)
            if source is None or not _alike(source, node):
                continue
            with exported.graph.inserting_before(node):
                call = exported.graph.call_function(operator, (source,))
            call.meta = dict(node.meta)
            replace_node(exported, node, call)
            found += 1
            break
    exported.graph.eliminate_dead_code()
    return PassResult(exported, found)


def _swish_of(node: Node) -> Any:
    """Return x where a node is ``x * hardsigmoid(x)``, the factor of a sixth anywhere; or None."""
    product = _times_a_sixth(node)
    for one, other in _factors(product):
        if _clamped(other) is one:
            return one
    for one, other in _factors(node):
        if _sigmoid_of(other) is one:
            return one
    return None


def _sigmoid_of(node: Any) -> Any:
    """Return x where a node is ``relu6(x + 3) / 6``, or the operator itself; or None."""
    if _name(node) == "aten.hardsigmoid.default":
        return node.args[0]
    return _clamped(_times_a_sixth(node))


def _clamped(node: Any) -> Any:
    """Return x where a node is ``relu6(x + 3)``, or None."""
    bounds = _CLAMPS.get(_name(node))
    if bounds is None or (tuple(node.args[1:3]) or bounds) != (0, 6):
        return None
    total = node.args[0]
    is_sum = _name(total) == "aten.add.Tensor" and total.args[1] == 3 and not total.kwargs
    return total.args[0] if is_sum else None


def _times_a_sixth(node: Any) -> Any:
    """Return x where a node is ``x / 6``, or None."""
    value: Any = node.args[1] if _name(node) in {"aten.div.Tensor", "aten.mul.Tensor"} else None
    if not isinstance(value, int | float):
        return None
    factor = value if _name(node) == "aten.mul.Tensor" else 1 / value if value else 0
    return node.args[0] if math.isclose(factor, _SIXTH, rel_tol=1e-6) else None


def _factors(node: Any) -> list[tuple[Any, Any]]:
    if _name(node) != "aten.mul.Tensor":
        return []
    one, other = node.args
    return [(one, other), (other, one)]


def _alike(source: Any, node: Node) -> bool:
    """Whether both are floats of one type and shape: a factor may have been broadcast."""
    before, after = source.meta["val"], node.meta["val"]
    same = before.dtype == after.dtype and list(before.shape) == list(after.shape)
    return bool(same and before.dtype.is_floating_point)


def _name(node: Any) -> str:
    return name_of(node) if hasattr(node, "target") else ""
