"""Lowerings that the TFLite converter lacks, or has in forms that runtimes do not execute."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def register() -> None:
    """Tell the converter how to write `edgekit`'s own operators, and ``topk``."""
    import numpy as np
    import torch
    from litert_converter.mlir import ir
    from litert_converter.mlir.dialects import stablehlo
    from litert_torch.backend.lowerings import registry, utils

    from edgekit.passes import recurrence, scatter  # noqa: F401 - they define the operators
    from edgekit.passes.recurrence import ROLES

    def numbers(*values: int) -> Any:
        content = np.array(values, np.int32)
        kind = ir.RankedTensorType.get([len(values)], ir.IntegerType.get_signless(32))
        return stablehlo.constant(ir.DenseElementsAttr.get(content, type=kind))

    def scalar(value: int) -> Any:
        kind = ir.RankedTensorType.get([], ir.IntegerType.get_signless(32))
        return stablehlo.constant(ir.DenseElementsAttr.get(np.array(value, np.int32), type=kind))

    def make(name: str, results: Any, operands: Any, **attributes: Any) -> Any:
        return ir.Operation.create(
            name, results=results, operands=operands, attributes=attributes
        ).results

    def loop(
        context: Any,
        kind: str,
        gates: Any,
        states: list[Any],
        *weights: Any,
    ) -> Any:
        *parts, reverse = weights
        named = [
            (f"{role}{layer}", value)
            for role, values in zip(ROLES, parts, strict=True)
            for layer, value in enumerate(values)
        ]
        way = "backward" if reverse else "forward"
        flags = [kind, way, str(len(states)), *(name for name, _ in named)]
        return make(
            "tfl.custom",
            utils.node_meta_to_ir_types(context.node),
            [gates, *states, *(value for _, value in named)],
            custom_code=ir.StringAttr.get(":".join(["edgekit.recurrence", *flags])),
            custom_option=ir.Attribute.parse('#tfl<const_bytes : "0x">'),
        )

    def scatter_sum(context: Any, places: Any, values: Any, shape: list[int]) -> Any:
        results = utils.node_meta_to_ir_types(context.node)
        return make("tfl.scatter_nd", results, [places, values, numbers(*shape)])[0]

    def topk(
        context: Any, x: Any, k: int, dim: int = -1, largest: bool = True, sorted_: bool = True
    ) -> Any:
        del dim, largest, sorted_  # as `edgekit.passes.rules.order` left them
        values, places = utils.node_meta_to_ir_types(context.node)
        narrow = ir.RankedTensorType.get(places.shape, ir.IntegerType.get_signless(32))
        found = make("tfl.topk_v2", [values, narrow], [x, scalar(k)])
        return found[0], stablehlo.convert(places, found[1])

    registry.lower(torch.ops.edgekit.recurrence.default)(loop)
    registry.lower(torch.ops.edgekit.scatter_sum.default)(scatter_sum)
    registry.lower(torch.ops.aten.topk.default)(topk)
