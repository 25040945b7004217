"""How MIL values live at run time: which torch type carries which MIL type, and at what precision.

float16 and bfloat16 values are carried as float32, because that is how they are accumulated and
because float16 arithmetic is slow on a CPU; `settle` rounds them where the program rounds.
Unsigned 16- and 32-bit integers ride in the next wider signed type, as torch computes little on its
own unsigned ones; 4-bit and narrower integers ride in 8 bits.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgekit.errors import ArtifactError
from edgekit.wire.mlprogram import TensorType, Value, ValueType

Precision = Literal["exact", "float32"]

CARRIERS = {
    "bool": torch.bool,
    "float16": torch.float32, "bfloat16": torch.float32,
    "float32": torch.float32, "float64": torch.float64,
    "int4": torch.int8, "int8": torch.int8, "int16": torch.int16,
    "int32": torch.int32, "int64": torch.int64,
    "uint1": torch.uint8, "uint2": torch.uint8, "uint3": torch.uint8, "uint4": torch.uint8,
    "uint6": torch.uint8, "uint8": torch.uint8,
    "uint16": torch.int32, "uint32": torch.int64, "uint64": torch.int64,
}  # fmt: skip
_ROUNDED = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_MASKS = {"uint16": 0xFFFF, "uint32": 0xFFFFFFFF}


def carry(tensor: Tensor, dtype: str) -> Tensor:
    """Return `tensor` in the torch type that carries `dtype`; integers wrap as in C."""
    wanted = CARRIERS.get(dtype)
    if wanted is None:
        raise ArtifactError(f"The reference runtime has no tensors of type {dtype}.")
    tensor = tensor.to(wanted)
    return tensor & _MASKS[dtype] if dtype in _MASKS else tensor


def settle(tensor: Tensor, kind: TensorType, precision: Precision) -> Tensor:
    """Return an operation's result as the program declares it: its type, its rounding, its shape.

    Raises:
        ArtifactError: the shape is another one than declared, or a number became an integer or the
            reverse: one of program and kernel is wrong, and no number is better than a wrong one.
    """
    shape = tensor.shape
    if shape != kind.shape and not (
        len(shape) == len(kind.shape)
        and all(want is None or got == want for got, want in zip(shape, kind.shape, strict=True))
    ):
        raise ArtifactError(f"the result has shape {list(shape)} where the program says {kind}")
    rounded = _ROUNDED.get(kind.dtype)
    if rounded is not None and tensor.is_floating_point():
        if precision == "float32":
            return tensor.to(torch.float32)
        return tensor.to(rounded).to(torch.float32)
    settled = carry(tensor, kind.dtype)
    if settled.is_floating_point() != tensor.is_floating_point():
        raise ArtifactError(f"the result is {tensor.dtype} where the program says {kind}")
    return settled


def constant(value: Value) -> Tensor | str | list[object]:
    """Return a constant of the program as a run-time value.

    Numbers become tensors (views into the file where the type allows it), a string scalar becomes
    `str`, a string tensor or a list a Python list.
    """
    text = value.text()
    if text is not None:
        return text
    if isinstance(value.type, TensorType) and value.type.dtype != "string":
        return carry(_tensor(np.require(value.array(), requirements=["A"])), value.type.dtype)
    assert isinstance(value.content, tuple)
    return [constant(item) if isinstance(item, Value) else item for item in value.content]


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
    """Wrap an array; one that cannot be written (a view into bytes) is copied."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def blank(kind: ValueType, precision: Precision) -> Tensor:
    """Return zeros of a state's type."""
    if not isinstance(kind, TensorType) or kind.elements is None:
        raise ArtifactError("A state of the program has no fixed shape.")
    shape = [dim for dim in kind.shape if dim is not None]
    return settle(torch.zeros(shape, dtype=CARRIERS[kind.dtype]), kind, precision)
