"""The operator suite: what PyTorch's operators do, one small model per case.

Each file here is a family and holds one table::

    CASES = {"name": (function or module, input, input, ...), ...}

An input is a function of a random generator, from `tests.conformance.operators.values`, or a tensor
as it is.  A case's values depend on its name alone, so that a table can grow in the middle.
"""

from __future__ import annotations

import importlib
import pkgutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

Entry = tuple[Any, ...]  # (function or module, input, input, ...)


@dataclass(frozen=True)
class Case:
    """One model of the suite.

    Attributes:
        name: ``family/operator, what is special``.
        function: What it computes: a function of tensors, or a module.
        inputs: What makes its inputs.
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[Any, ...]

    @property
    def family(self) -> str:
        """The file that it stands in."""
        return self.name.partition("/")[0]

    def build(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """Return the model, in evaluation mode, and its inputs; the same on every call."""
        generator = torch.Generator().manual_seed(zlib.crc32(self.name.encode()))
        inputs = tuple(
            each if isinstance(each, Tensor) else each(generator) for each in self.inputs
        )
        module = self.function if isinstance(self.function, nn.Module) else _Call(self.function)
        _fill(module, generator)
        return module.eval(), inputs


@cache
def suite() -> dict[str, Case]:
    """Return every case by name."""
    cases = {}
    for info in pkgutil.iter_modules(__path__):
        table = getattr(importlib.import_module(f"{__name__}.{info.name}"), "CASES", {})
        for name, (function, *inputs) in table.items():
            full = f"{info.name}/{name}"
            cases[full] = Case(full, function, tuple(inputs))
    return cases


class _Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


@torch.no_grad()
def _fill(module: nn.Module, generator: torch.Generator) -> None:
    """Give every weight a value that matters: a lost bias or scale must show."""
    for parameter in module.parameters():
        parameter.normal_(std=0.4, generator=generator)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.4, generator=generator)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0, generator=generator)
