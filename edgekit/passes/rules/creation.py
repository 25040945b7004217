"""Tensors made to another's shape: constants, once the shape is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes.rules import rule

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_KNOWN = "computed anew on the device, and in Core ML with the other tensor's type"


@rule("zeros_like.default", onnx=_KNOWN, tflite=_KNOWN, coreml=_KNOWN)
def zeros_like(x: Tensor, *, dtype: torch.dtype | None = None, **_place: Any) -> Any:
    """Write the zeros down."""
    return _full(x, x.shape, 0, dtype)


@rule("ones_like.default", onnx=_KNOWN, tflite=_KNOWN, coreml=_KNOWN)
def ones_like(x: Tensor, *, dtype: torch.dtype | None = None, **_place: Any) -> Any:
    """Write the ones down."""
    return _full(x, x.shape, 1, dtype)


@rule("full_like.default", onnx=_KNOWN, tflite=_KNOWN, coreml=_KNOWN)
def full_like(x: Tensor, value: float, *, dtype: torch.dtype | None = None, **_place: Any) -> Any:
    """Write the numbers down."""
    return _full(x, x.shape, value, dtype)


@rule("new_zeros.default", onnx=_KNOWN, tflite=_KNOWN, coreml=_KNOWN)
def new_zeros(x: Tensor, size: Any, *, dtype: torch.dtype | None = None, **_place: Any) -> Any:
    """Write the zeros down."""
    return _full(x, size, 0, dtype)


@rule("new_ones.default", onnx=_KNOWN, tflite=_KNOWN, coreml=_KNOWN)
def new_ones(x: Tensor, size: Any, *, dtype: torch.dtype | None = None, **_place: Any) -> Any:
    """Write the ones down."""
    return _full(x, size, 1, dtype)


@rule("new_full.default", onnx=_KNOWN, tflite=_KNOWN, coreml=_KNOWN)
def new_full(
    x: Tensor, size: Any, value: float, *, dtype: torch.dtype | None = None, **_place: Any
) -> Any:
    """Write the numbers down."""
    return _full(x, size, value, dtype)


@rule("fill.Scalar", onnx=_KNOWN, tflite=_KNOWN, coreml=_KNOWN)
def fill(x: Tensor, value: float) -> Any:
    """Write the numbers down."""
    return _full(x, x.shape, value, None)


def _full(like: Tensor, size: Any, value: float, dtype: torch.dtype | None) -> Any:
    import torch

    if not all(isinstance(each, int) for each in size):
        return NotImplemented
    return torch.full(list(size), value, dtype=dtype or like.dtype)
