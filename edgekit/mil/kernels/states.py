"""Kernels of coremltools' states.py and of its Core ML dialect: stateful models (iOS18)."""

from __future__ import annotations

from torch import Tensor

from edgekit.mil.kernels import Context, kernel


@kernel("read_state")
def read_state(*, input: str, context: Context) -> Tensor:  # noqa: A002 - MIL's name
    """Return a copy of the state (iOS18)."""
    return context.state[input].clone()


@kernel("write_state")
def write_state(*, input: str, data: Tensor, context: Context) -> tuple[()]:  # noqa: A002
    """Replace the state's content; how a file spells coreml_update_state (iOS18)."""
    context.state[input] = data.clone()
    return ()


@kernel("coreml_update_state")
def coreml_update_state(*, state: str, value: Tensor, context: Context) -> Tensor:
    """Replace the state's content and return a copy of it (iOS18)."""
    context.state[state] = value.clone()
    return value.clone()
