"""Kernels of coremltools' control_flow.py: branches, loops and lists of tensors.

A list is a Python list of tensors.  An element that was never written is zeros; if its shape has a
symbolic axis it is None until the first write to the list shows the shape.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import EdgekitError, UnavailableError
from edgekit.mil.kernels import Context, Value, allow, ints, kernel, scalar
from edgekit.mil.kernels.defaults import ONE, TRUE

_MOST_ROUNDS = 30_000  # some seconds of a small body: a damaged loop must not run for ever
TensorList = list[Tensor | None]
_DTYPES = {
    "bool": torch.bool, "fp16": torch.float32, "fp32": torch.float32, "int32": torch.int32,
}  # fmt: skip


@kernel("cond")
def cond(*, pred: Tensor, context: Context) -> tuple[Value, ...]:
    """Run the first block if pred, else the second."""
    return tuple(context.run_block(0 if scalar(pred) else 1, []))


@kernel("while_loop")
def while_loop(*, loop_vars: list[Any], context: Context) -> tuple[Value, ...]:
    """Run the second block on loop_vars for as long as the first block says so."""
    for _ in range(_MOST_ROUNDS):
        if not scalar(context.run_block(0, loop_vars)[0]):  # type: ignore[arg-type]
            return tuple(loop_vars)
        loop_vars = context.run_block(1, loop_vars)
    raise UnavailableError(f"the reference runtime stops a loop after {_MOST_ROUNDS} rounds")


@kernel("select")
def select(*, cond: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    """`a` where cond, else b, broadcast; without a and b, the indices at which cond holds."""
    if a is None or b is None:
        return cond.nonzero()
    return torch.where(cond.bool(), a, b)


@kernel("make_list")
def make_list(
    *,
    elem_shape: list[Any],
    init_length: Tensor = ONE,
    dynamic_length: Tensor = TRUE,  # noqa: ARG001 - every list can grow
    dtype: str = "fp32",
) -> TensorList:
    """Return a list of zeros; string dimensions are symbolic."""
    allow(scalar(init_length))
    if any(isinstance(size, str) for size in elem_shape):
        return [None] * scalar(init_length)
    sizes = [int(scalar(size)) for size in elem_shape]
    allow(math.prod(sizes))
    zeros = torch.zeros(sizes, dtype=_DTYPES[dtype])
    return [zeros] * scalar(init_length)


@kernel("list_length")
def list_length(*, ls: TensorList) -> Tensor:
    """Return the number of elements."""
    return torch.tensor(len(ls), dtype=torch.int32)


@kernel("list_read")
def list_read(*, ls: TensorList, index: Tensor) -> Tensor:
    """Return the element at index."""
    return _element(ls, scalar(index))


@kernel("list_gather")
def list_gather(*, ls: TensorList, indices: Tensor) -> Tensor:
    """Stack the elements at indices."""
    return torch.stack([_element(ls, index) for index in ints(indices)])


@kernel("list_write")
def list_write(*, ls: TensorList, index: Tensor, value: Tensor) -> TensorList:
    """Return the list with value at index, lengthened with zeros to hold it."""
    return _written(ls, [scalar(index)], value.unsqueeze(0))


@kernel("list_scatter")
def list_scatter(*, ls: TensorList, indices: Tensor, value: Tensor) -> TensorList:
    """Return the list with value[i] at indices[i], lengthened with zeros to hold them."""
    return _written(ls, ints(indices), value)


def _element(ls: TensorList, index: int) -> Tensor:
    if not 0 <= index < len(ls):
        raise EdgekitError(f"index {index} lies outside a list of {len(ls)} elements")
    element = ls[index]
    if element is None:
        raise EdgekitError("a list of symbolic element shape was read before it was written")
    return element


def _written(ls: TensorList, indices: list[int], values: Tensor) -> TensorList:
    if min(indices) < 0:
        raise EdgekitError(f"index {min(indices)} lies outside a list of {len(ls)} elements")
    allow(max(indices))
    unwritten = torch.zeros_like(values[0])
    result: TensorList = [unwritten if element is None else element for element in ls]
    result += [unwritten] * (max(indices) + 1 - len(result))
    for index, value in zip(indices, values, strict=True):
        result[index] = value
    return result
