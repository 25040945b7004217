"""Where the extreme value stands."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from edgekit.passes.rules import rule

if TYPE_CHECKING:
    from torch import Tensor

_TYPES = "joins tensors of one type only"
_LAST = "looks along the last axis only"


@rule("argmax.default", coreml=_LAST)
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Look along the one axis of all elements."""
    return x.reshape(-1).argmax(0) if dim is None and not keepdim else NotImplemented


@rule("argmin.default", coreml=_LAST)
def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Look along the one axis of all elements."""
    return x.reshape(-1).argmin(0) if dim is None and not keepdim else NotImplemented


@rule("cat.default", tflite=_TYPES)
def cat(parts: list[Tensor], dim: int = 0) -> Any:
    """Convert to the common type first."""
    import torch

    types = {part.dtype for part in parts}
    if len(types) == 1:
        return NotImplemented
    wide = reduce(torch.promote_types, types)
    return torch.cat([part.to(wide) for part in parts], dim)
