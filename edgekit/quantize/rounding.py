"""How far two right computations of one quantized graph may be apart.

A value that is rounded to 8 bits jumps by a whole step where it lies near the middle between two.
Whoever sums in another order, or keeps the scale in fixed point as integer kernels do, lands on the
other side now and then; and one jump moves many sums of the next layer a little, some of them over
another middle.  In a deep network that ends in as much noise as quantization itself makes.  So an
artifact cannot be held to the quantized graph more closely than the graph can to itself, computed
with values off by what 32-bit arithmetic may be off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter

from edgekit.exporting import to_numpy
from edgekit.quantize.costs import lowest_sqnr, tensors
from edgekit.quantize.dialects import is_quantize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.fx import GraphModule, Node

    from edgekit.program import Program
    from edgekit.runtimes import Arrays

# Of the range of a quantized value: products and sums of 24 bits, less some for their number.
_OFF = 2.0**-21


def floor_db(program: Program, outputs: Sequence[Arrays]) -> float:
    """Return the lowest SQNR between a graph's outputs and those with other rounding."""
    module = program.exported.module(check_guards=False)
    order = [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]
    found = []
    with torch.no_grad():
        for sample in program.samples:
            given = tensors(sample, program)
            result = _Otherwise(module).run(*(given[name] for name in order))
            found.append({name: to_numpy(value) for name, value in result.items()})
    return lowest_sqnr(outputs, found)


class _Otherwise(Interpreter):
    """Runs a graph; what is about to be rounded is off by as much as arithmetic may be."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self._random = torch.Generator().manual_seed(0)

    def run_node(self, n: Node) -> Any:
        if not is_quantize(n) or "per_tensor" not in str(n.target):
            return super().run_node(n)
        (value, scale, zero, low, high, *rest), _ = self.fetch_args_kwargs_from_env(n)
        noise = torch.rand(value.shape, generator=self._random) * 2 - 1
        target: Any = n.target
        off = value + noise * (scale * (high - low) * _OFF)
        return target(off, scale, zero, low, high, *rest)
