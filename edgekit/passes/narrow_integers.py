"""Check that 64-bit integers fit into 32 bits, for formats that compute with no more.

A stored value or a scalar that does not fit would wrap around without a word.  The two extremes of
int64 stand for "no bound": they become the extremes of int32.  Anything else is an error that names
the value and the user's line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.errors import LimitError
from edgekit.passes import PassResult
from edgekit.passes.graph import calls
from edgekit.passes.legalization import describe

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import Node

_LOWEST, _HIGHEST = -(2**31), 2**31 - 1
_UNBOUNDED = {-(2**63): _LOWEST, 2**63 - 1: _HIGHEST}


def run(exported: ExportedProgram) -> PassResult:
    """Bring every stored integer and every scalar into 32 bits.

    Raises:
        LimitError: one has a value that 32 bits cannot hold.
    """
    changed = _narrow_stored(exported)
    for node in calls(exported):
        changed += _narrow_scalars(node)
    return PassResult(exported, changed)


def _narrow_stored(exported: ExportedProgram) -> int:
    import torch

    changed = 0
    nodes = {node.name: node for node in exported.graph.find_nodes(op="placeholder")}
    stores = (exported.state_dict, exported.constants)
    for spec in exported.graph_signature.input_specs:
        for store in stores:
            tensor = store.get(spec.target) if spec.target else None
            if not isinstance(tensor, torch.Tensor) or tensor.dtype is not torch.int64:
                continue
            if not tensor.numel() or (_fits(int(tensor.min())) and _fits(int(tensor.max()))):
                continue
            store[spec.target] = _narrowed(tensor, nodes[spec.arg.name])
            changed += 1
    return changed


def _narrowed(tensor: Tensor, node: Node) -> Tensor:
    narrowed = tensor.clone()
    for value in set(tensor[(tensor < _LOWEST) | (tensor > _HIGHEST)].tolist()):
        narrowed[tensor == value] = _narrow(value, next(iter(node.users), node))
    return narrowed


def _narrow_scalars(node: Node) -> int:
    """Narrow the numbers that an operator computes with: not its axes and its bounds of slices."""
    target: Any = node.target
    arguments = target._schema.arguments  # noqa: SLF001 - torch has no other way to ask
    numbers = [str(each.type) in ("number", "Optional[number]") for each in arguments]
    if not any(numbers) or not _is_integer(node):
        return 0
    changed = 0
    for index, argument in enumerate(arguments):
        given = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
        if not numbers[index] or type(given) is not int or _fits(given):
            continue
        narrow = _narrow(given, node)
        if index < len(node.args):
            node.update_arg(index, narrow)
        else:
            node.update_kwarg(argument.name, narrow)
        changed += 1
    return changed


def _is_integer(node: Node) -> bool:
    import torch

    read = [each.meta.get("val") for each in node.all_input_nodes] or [node.meta.get("val")]
    return any(getattr(value, "dtype", None) is torch.int64 for value in read)


def _narrow(value: int, reader: Node) -> int:
    if value not in _UNBOUNDED:
        raise LimitError(
            f"The integer {value} does not fit into the 32 bits that this format computes with; "
            f"it is in {describe(reader)}.",
            "Use smaller numbers in the model, or convert to ONNX, which has 64 bits.",
        )
    return _UNBOUNDED[value]


def _fits(value: int) -> bool:
    return _LOWEST <= value <= _HIGHEST
