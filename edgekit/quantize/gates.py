"""Hard sigmoids in integers, for formats whose runtimes have no kernel for them, or a slow one.

``relu6(x + 3)``, quantized in a range from 0 to 6, is a sum of integers that saturates.  A sixth of
it has the same integers, in steps a sixth as large: those that a quantized hard sigmoid has.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from edgekit.passes.graph import computed_now, expand, name_of, replace_node
from edgekit.quantize.dialects import is_dequantize, is_quantize

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import Node

STEP, LOWEST = 1 / 255, -128  # of a quantized hard sigmoid: from 0 to 1
_INT8 = (-128, 127, torch.int8)
_Q = torch.ops.quantized_decomposed


def with_integer_gates(exported: ExportedProgram, *, multiply: bool) -> ExportedProgram:
    """Write each hard sigmoid between integers as a sum of them.

    Args:
        exported: The program, which is changed.
        multiply: Bring the sum to its own scale by a product, for a format where the scale belongs
            to the integers; else whoever reads them names the other scale.
    """
    for node in list(exported.graph.nodes):
        if name_of(node) == "aten.hardsigmoid.default" and _is_between_integers(node):
            readers = list(node.users)
            expand(exported, node, _by_product if multiply else _by_scale)
            for reader in () if multiply else readers:
                step: Any = reader.args[0]
                replace_node(exported, reader, step.args[0])
    exported.graph.eliminate_dead_code()
    exported.graph_module.recompile()
    return exported


def _by_scale(x: Tensor) -> Tensor:
    result: Tensor = _Q.dequantize_per_tensor(_sum(x), STEP, LOWEST, *_INT8)
    return result


def _by_product(x: Tensor) -> Tensor:
    total: Tensor = _Q.dequantize_per_tensor(_sum(x), 6 * STEP, LOWEST, *_INT8)
    return total * _largest(STEP / 6)


def _sum(x: Tensor) -> Tensor:
    total: Tensor = _Q.quantize_per_tensor(x + _largest(3 * STEP), 6 * STEP, LOWEST, *_INT8)
    return total


def _largest(step: float) -> Tensor:
    """Return 255 steps, as an integer behind a dequantize node."""
    with computed_now():
        integer = torch.tensor(127, dtype=torch.int8)
    value: Tensor = _Q.dequantize_per_tensor(integer, step, LOWEST, *_INT8)
    return value


def _is_between_integers(node: Node) -> bool:
    source: Any = node.args[0]
    reads = is_dequantize(source) and source.args[-1] is torch.int8
    return reads and bool(node.users) and all(map(_is_step, node.users))


def _is_step(reader: Any) -> bool:
    if not is_quantize(reader):
        return False
    _, scale, zero, *_ = reader.args
    return isinstance(scale, float) and math.isclose(scale, STEP, rel_tol=1e-6) and zero == LOWEST
