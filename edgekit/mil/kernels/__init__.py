"""Kernels: what each MIL operation computes, in PyTorch, one module per family.

A module of this folder is a table that reads like coremltools' file of the same name in
``coremltools/converters/mil/mil/ops/defs``::

    @kernel("relu6")
    def relu6(*, x: Tensor) -> Tensor:
        \"\"\"min(max(x, 0), 6).\"\"\"
        return x.clamp(0, 6)

Parameters are keyword-only and bear MIL's own input names; optional inputs that the program leaves
out are not passed, so MIL's defaults are Python's.  Every argument is a tensor (rank 0 for a
scalar; values that the program types as fp16 arrive as float32), except strings, which are `str`,
variadic or list inputs, which are lists of tensors, and states, which are their names.  A kernel
that declares a parameter ``context`` is also given a `Context`.  Kernels know nothing of precision:
the interpreter casts every result to the type that the program declares for it.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from torch import Tensor

from edgekit.errors import EdgekitError
from edgekit.wire.mlprogram import TensorType

Value = Tensor | str | list[Any]
Kernel = Callable[..., Any]
_F = TypeVar("_F", bound=Kernel)
_ROOM = 1 << 26  # elements; 256 MiB of float32
_STRETCH = 64
_TABLE: dict[str, Kernel] = {}


@dataclass(frozen=True)
class Context:
    """What a kernel may know about the operation that it computes.

    Attributes:
        run_block: Runs the operation's nested block of that index on inputs, and returns its
            outputs.
        state: The session's state tensors by name; `read_state` and `coreml_update_state` use it.
        output_types: Declared type of each output.
        opset: The function's op set, ``"CoreML5"`` (iOS15) to ``"CoreML8"`` (iOS18).
        op_name: Name of the operation, for messages.
    """

    run_block: Callable[[int, list[Value]], list[Value]]
    state: dict[str, Tensor]
    output_types: tuple[TensorType, ...]
    opset: str
    op_name: str


def kernel(*names: str) -> Callable[[_F], _F]:
    """Register the decorated function as the kernel of the MIL operations `names`."""

    def register(function: _F) -> _F:
        for name in names:
            if name in _TABLE:
                raise ValueError(f"two kernels are registered for {name!r}")
            _TABLE[name] = function
        return function

    return register


@cache
def table() -> dict[str, Kernel]:
    """Import every module of this folder and return all kernels by operation name."""
    for info in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{info.name}")
    return dict(sorted(_TABLE.items()))


def ints(tensor: Tensor) -> list[int]:
    """Return the elements of an integer tensor of rank 0 or 1 as Python integers."""
    return [int(item) for item in tensor.reshape(-1).tolist()]


def allow(elements: float, given: int = 0) -> None:
    """Refuse to allocate more than `_ROOM` elements, unless near to the number that is given.

    A damaged size must not fill the memory before the result's shape is found to be wrong.
    """
    if elements > max(_ROOM, _STRETCH * given):
        raise EdgekitError(f"it would make {elements:.3g} elements of {given}")


def extent(shape: Tensor) -> list[int]:
    """Return the sizes in `shape`, which a kernel is about to fill."""
    sizes = ints(shape)
    allow(math.prod(sizes))
    return sizes


def scalar(tensor: Tensor) -> Any:
    """Return the one element of a tensor as a Python number or bool."""
    return tensor.item()
