"""What `edgekit targets` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.target import Target


def show(targets: Sequence[Target], console: Console) -> None:
    """Print one row per target."""
    table = Table(box=None, pad_edge=False)
    for title in ("target", "kind", "format", "recipe", "runtime", "threads", "what"):
        table.add_column(title, overflow="fold")
    for target in targets:
        defaults = target.defaults
        table.add_row(
            *map(
                escape,
                (
                    target.name,
                    target.kind,
                    defaults.format,
                    defaults.recipe,
                    defaults.runtime or "-",
                    str(defaults.threads) if defaults.runtime else "-",
                    target.description,
                ),
            )
        )
    console.print(table)


def show_one(target: Target, console: Console) -> None:
    """Print all that is known of a target, and where it comes from."""
    console.print(f"{target.name}: {target.description}", markup=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in ("fact", "value", "source"):
        table.add_column(name, overflow="fold")
    groups: list[tuple[str, Any]] = [("defaults", target.defaults), ("soc", target.soc)]
    groups += [("core", each) for each in target.cpu]
    groups += [("memory", target.memory)]
    groups += [("accelerator", each) for each in target.accelerators]
    groups += [("compiler", target.compiler), ("budgets", target.budgets)]
    for title, group in groups:
        if group is not None:
            facts = asdict(group)
            source = facts.pop("source", "")
            for number, (name, value) in enumerate(_said(facts)):
                words = (title if number == 0 else "", f"{name}: {value}", source * (number == 0))
                table.add_row(*map(escape, words))
    console.print(table)


def _said(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if value in (None, (), {}):
            continue
        if isinstance(value, dict):
            text = ", ".join(f"{key}={_said_of(each)}" for key, each in value.items())
        else:
            text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        yield name.replace("_", " "), text


def _said_of(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={each}" for key, each in value.items()) + "}"
    return str(value)
