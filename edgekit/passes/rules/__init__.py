"""Rules: how an operator that a format does not take is expressed by operators that it takes.

A rule is a function of the operator's own arguments, written in PyTorch::

    @rule("roll.default", coreml="no operation for it")
    def roll(x, shifts, dims=()):
        ...

It is traced on the arguments' shapes and its operators take the node's place.  A rule that does not
fit the arguments at hand returns NotImplemented; what it returns otherwise has the operator's own
shapes and types.  The keywords name the formats that need the rule, and what is wrong without it:
`docs/legalization.md` is made from them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

Rewrite = TypeVar("Rewrite", bound=Callable[..., Any])


@dataclass(frozen=True)
class Rule:
    """One rewrite.

    Attributes:
        operators: Names of the ATen overloads that it rewrites, without ``aten.``.
        why: For each format that needs it, what is wrong without it.
        rewrite: The function that is traced in the operator's place.
        is_shared: Whether it is written for all of the operators at once: it is given the operator
            before the arguments.
    """

    operators: tuple[str, ...]
    why: dict[str, str]
    rewrite: Callable[..., Any]
    is_shared: bool = False

    @property
    def name(self) -> str:
        """The function's name, with its module's."""
        return f"{self.rewrite.__module__.rpartition('.')[2]}.{self.rewrite.__name__}"


_RULES: list[Rule] = []


def rule(*operators: str, shared: bool = False, **why: str) -> Callable[[Rewrite], Rewrite]:
    """Declare the decorated function as a rewrite of `operators` for the formats in `why`.

    With `shared` it is given the operator as its first argument.
    """

    def declare(function: Rewrite) -> Rewrite:
        _RULES.append(Rule(operators, why, function, shared))
        return function

    return declare


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return every rule of this folder, by module and then as written."""
    for module in sorted(each.name for each in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    return tuple(_RULES)


@cache
def rules_for(format_name: str) -> dict[str, tuple[Rule, ...]]:
    """Return a format's rules by operator."""
    found: dict[str, tuple[Rule, ...]] = {}
    for each in all_rules():
        for operator in each.operators if format_name in each.why else ():
            found[operator] = (*found.get(operator, ()), each)
    return found
