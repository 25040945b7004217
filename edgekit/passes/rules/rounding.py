"""Arithmetic whose arguments or rounding a converter gets wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes.rules import rule

if TYPE_CHECKING:
    from torch import Tensor


@rule("sub.Tensor", tflite="does not take alpha")
def sub(x: Tensor, y: Any, *, alpha: float = 1) -> Any:
    """Scale first."""
    return NotImplemented if alpha == 1 else x - y * alpha


@rule("floor_divide.default", "div.Tensor_mode", "div.Scalar_mode", tflite="no such rounding")
def rounded_division(x: Tensor, y: Any, *, rounding_mode: str | None = "floor") -> Any:
    """Divide numbers and round; integers are left to the format."""
    import torch

    if not x.dtype.is_floating_point or rounding_mode is None:
        return NotImplemented
    quotient = torch.true_divide(x, y)
    return quotient.floor() if rounding_mode == "floor" else quotient.trunc()
