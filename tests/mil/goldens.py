"""Compares a kernel, run through the interpreter, with values from elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.mil.harness import assert_close, kind, run_op


def compute(op: str, opset: str = "iOS17", like: Any = None, **inputs: Any) -> Any:
    """Return an operation's only output; `like` declares its type."""
    return run_op(op, inputs, (kind(np.asarray(like)),), opset=opset)[0]


def assert_golden(
    op: str, *expected: Any, opset: str = "iOS17", rtol: float = 1e-6, **inputs: Any
) -> None:
    """Check an operation's outputs against `expected`, one array for each output."""
    wanted = [np.asarray(value) for value in expected]
    wanted = [w.astype(np.float32) if w.dtype == np.float64 else w for w in wanted]
    wanted = [w.astype(np.int32) if w.dtype == np.int64 else w for w in wanted]
    results = run_op(op, inputs, tuple(kind(want) for want in wanted), opset=opset)
    assert len(results) == len(wanted)
    for got, want in zip(results, wanted, strict=True):
        assert_close(got, want, rtol, op)


def f32(values: Any, *shape: int) -> np.ndarray:
    """Return float32 values, reshaped if a shape is given."""
    array = np.asarray(values, np.float32)
    return array.reshape(shape) if shape else array
