"""The end of a classifier."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from edgekit.mil.kernels import kernel


@kernel("classify")
def classify(*, probabilities: Tensor, classes: list[Any]) -> tuple[Any, Tensor]:
    """The likeliest class (str or int64), and all probabilities in the order of the classes."""
    flat = probabilities.reshape(-1)
    if len(classes) != len(flat):
        raise ValueError(f"{len(classes)} classes for {len(flat)} probabilities")
    return classes[int(flat.argmax())], flat
