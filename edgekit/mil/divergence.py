"""Where float16 hurts: the first operation whose rounded result leaves the unrounded one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, inference_mode

from edgekit.mil.code import RunValue, Step
from edgekit.mil.interpreter import Interpreter
from edgekit.wire.mlprogram import Block, Function, Program, StateType, TensorType, ValueType


@dataclass(frozen=True)
class Divergence:
    """The first operation that float16 spoils.

    Attributes:
        operation: Its name.
        type: Its MIL type, such as ``"matmul"``.
        value: Name of the output that differs.
        sqnr_db: Signal to quantization-noise ratio against float32; NaN when it overflowed.
        overflowed: Whether it is infinite or NaN where float32 is finite.
    """

    operation: str
    type: str
    value: str
    sqnr_db: float
    overflowed: bool

    def __str__(self) -> str:
        where = f"op {self.operation!r} ({self.type})"
        if self.overflowed:
            return f"overflows float16 at {where}"
        return f"falls to {self.sqnr_db:.1f} dB in float16 at {where}"


def first_divergence(
    program: Program,
    feeds: Mapping[str, Tensor],
    tolerance_db: float,
    function: str = "main",
) -> Divergence | None:
    """Run exact and float32 side by side; return the first operation below `tolerance_db`, or None.

    Only one operation's values of either run are compared at a time, so memory stays that of two
    runs.  States start from zeros.  What happens inside a control-flow operation counts as its own.
    """
    exact = Interpreter(program, function, "exact")
    free = Interpreter(program, function, "float32")
    with inference_mode():
        rounded, unrounded = exact.frame(feeds), free.frame(feeds)
        for step, twin in zip(exact.code.steps, free.code.steps, strict=True):
            got, want = exact.execute(step, rounded), free.execute(twin, unrounded)
            found = _compare(step, got, want, tolerance_db)
            if found is not None:
                return found
    return None


def computes_in_half(function: Function) -> bool:
    """Return whether any value that the function takes or computes is a float16 or bfloat16."""

    def half(kind: ValueType) -> bool:
        if isinstance(kind, StateType):
            return half(kind.wrapped)
        return isinstance(kind, TensorType) and kind.dtype in {"float16", "bfloat16"}

    def computed(block: Block) -> bool:
        return any(
            any(half(output.type) for output in operation.outputs)
            or any(computed(nested) for nested in operation.blocks)
            for operation in block.operations
            if operation.type != "const"
        )

    return any(half(item.type) for item in function.inputs) or computed(function.block)


def sqnr_db(got: Tensor, want: Tensor) -> float:
    """Return 10 log10(sum want^2 / sum (got - want)^2), infinite when they are equal."""
    reference = want.double()
    noise = float((got.double() - reference).square().sum())
    signal = float(reference.square().sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _compare(
    step: Step, got: list[RunValue], want: list[RunValue], tolerance_db: float
) -> Divergence | None:
    operation = step.operation
    for output, mine, other in zip(operation.outputs, got, want, strict=True):
        if not (isinstance(mine, Tensor) and mine.is_floating_point()):
            continue
        if mine.shape != other.shape:  # a decision (a loop's length, an index) went another way
            return Divergence(operation.name, operation.type, output.name, -math.inf, False)
        finite = other.isfinite()
        if bool((finite & ~mine.isfinite()).any()):
            return Divergence(operation.name, operation.type, output.name, math.nan, True)
        ratio = sqnr_db(mine[finite], other[finite])
        if ratio < tolerance_db:
            return Divergence(operation.name, operation.type, output.name, ratio, False)
    return None
