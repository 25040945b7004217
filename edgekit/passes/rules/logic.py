"""Operators on bits, where a format has only those on truth values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.passes.rules import rule

if TYPE_CHECKING:
    from torch import Tensor

_NONE = "has operators on truth values only"


def _is_bool(*values: Any) -> bool:
    import torch

    return all(isinstance(v, bool) or getattr(v, "dtype", None) is torch.bool for v in values)


@rule("bitwise_and.Tensor", "bitwise_and.Scalar", "__and__.Tensor", "__and__.Scalar", tflite=_NONE)
def bitwise_and(x: Tensor, y: Tensor) -> Any:
    """On truth values this is the logical operator."""
    return x.logical_and(_tensor(y, x)) if _is_bool(x, y) else NotImplemented


@rule("bitwise_or.Tensor", "bitwise_or.Scalar", "__or__.Tensor", "__or__.Scalar", tflite=_NONE)
def bitwise_or(x: Tensor, y: Tensor) -> Any:
    """On truth values this is the logical operator."""
    return x.logical_or(_tensor(y, x)) if _is_bool(x, y) else NotImplemented


@rule("bitwise_xor.Tensor", "bitwise_xor.Scalar", "__xor__.Tensor", "__xor__.Scalar", tflite=_NONE)
def bitwise_xor(x: Tensor, y: Tensor) -> Any:
    """On truth values it asks whether they differ."""
    return _differ(x, _tensor(y, x)) if _is_bool(x, y) else NotImplemented


@rule("bitwise_not.default", tflite=_NONE)
def bitwise_not(x: Tensor) -> Any:
    """On integers in two's complement it is ``-1 - x``."""
    return x.logical_not() if _is_bool(x) else -1 - x


@rule("logical_xor.default", tflite="its bitwise operator does not take truth values")
def logical_xor(x: Tensor, y: Tensor) -> Any:
    """Ask whether the truth values differ."""
    import torch

    return _differ(x.to(torch.bool), y.to(torch.bool))


@rule("ne.Tensor", tflite="its bitwise operator does not take truth values")
def not_equal(x: Tensor, y: Tensor) -> Any:
    """Ask whether the truth values differ."""
    return _differ(x, y) if _is_bool(x, y) else NotImplemented


def _differ(x: Tensor, y: Tensor) -> Any:
    """Compare as numbers: of truth values the converter makes its bitwise operator."""
    return (x != 0).float() != (y != 0).float()


def _tensor(value: Any, like: Tensor) -> Any:
    import torch

    return torch.full((), value, dtype=like.dtype) if isinstance(value, bool | int) else value
