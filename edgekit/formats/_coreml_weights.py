"""Weights in fewer bits, in Core ML: constants that it expands when it loads a model.

iOS 18 has operations with sub-byte types for them; before, tables and zeros are packed into bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools import target
from coremltools.converters.mil import Builder as mb  # noqa: N813 - its name in all its examples
from coremltools.converters.mil.frontend._utils import _construct_constexpr_dequant_op
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.block import is_current_opset_version_compatible_with

from edgekit.runtimes import Array


def _integer_weight(context: Any, node: Any) -> None:
    data, scale = _values(context, node, 2)
    result = _construct_constexpr_dequant_op(data, None, scale, name=node.name)
    context.add(result, node.name)


def _table_weight(context: Any, node: Any) -> None:
    indices, table = _values(context, node, 2)
    bits = len(table).bit_length() - 1
    if _has_small_types():
        kind = types.nptype_from_builtin(types.string_to_builtin(f"uint{bits}"))
        given = {
            "indices": indices.astype(kind),
            "lut": table.reshape(*[1] * indices.ndim, len(table), 1),
        }
    else:
        shape = np.array(indices.shape, np.uint32)
        given = {"indices": _packed(indices, bits), "lut": table, "shape": shape}
    context.add(mb.constexpr_lut_to_dense(**given, name=node.name), node.name)


def _sparse_weight(context: Any, node: Any) -> None:
    (values,) = _values(context, node, 1)
    mask = (values != 0).astype(np.uint8)
    if _has_small_types():
        small = types.nptype_from_builtin(types.string_to_builtin("uint1"))
        given = {"mask": mask.astype(small)}
    else:
        given = {"mask": _packed(mask, 1), "shape": np.array(values.shape, np.uint32)}
    stored = mb.constexpr_sparse_to_dense(nonzero_data=values[values != 0], **given, name=node.name)
    context.add(stored, node.name)


def _values(context: Any, node: Any, count: int) -> list[Array]:
    return [np.asarray(context[name].val) for name in node.inputs[:count]]


def _has_small_types() -> bool:
    return bool(is_current_opset_version_compatible_with(target.iOS18))


def _packed(values: Array, bits: int) -> Array:
    """Return small integers as bytes, from the least significant bit up."""
    apart = (values.reshape(-1, 1) >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(apart.astype(np.uint8), bitorder="little")


_BY_NAME = {
    "integer_weight": _integer_weight,
    "table_weight": _table_weight,
    "sparse_weight": _sparse_weight,
}
# coremltools asks for an operator in both spellings.
CONVERTERS = {f"edgekit{dot}{k}": v for k, v in _BY_NAME.items() for dot in (".", "::")}
