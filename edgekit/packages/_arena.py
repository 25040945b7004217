"""How much memory a microcontroller's interpreter will want, before any device is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.wire.tflite import Activation, activations

ALIGNMENT = 16
"""Bytes: of the model, and of each tensor in the arena."""
_PER_TENSOR = 512
"""Bytes; TensorFlow Lite for Microcontrollers took 336 to 556 for each tensor of three models."""
_PER_MODEL = 2048


def arena_hint(path: Path) -> int:
    """Return an estimate of the arena in bytes: the tensors, planned, and the interpreter's own.

    The tensors are planned as by the greedy planner (Pisarchyk and Lee, Efficient Memory Management
    for Deep Neural Net Inference, 2020): the largest first, each at the lowest free place.  What
    kernels ask for beside that is not known here, so a device may want more.
    """
    living = activations(path)
    return _aligned(planned(living)) + _PER_TENSOR * len(living) + _PER_MODEL


def planned(living: Sequence[Activation]) -> int:
    """Return the bytes that tensors take where those alive at different times share a place."""
    placed: list[tuple[int, int, Activation]] = []
    for each in sorted(living, key=lambda tensor: -tensor.size_bytes):
        size = _aligned(each.size_bytes)
        start = 0
        for begin, end, other in sorted(placed, key=lambda item: item[:2]):
            together = other.first <= each.last and each.first <= other.last
            if together and begin < start + size:
                start = max(start, end)
        placed.append((start, start + size, each))
    return max((end for _, end, _ in placed), default=0)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
