"""What `edgekit devices` shows: one row per device, in its own words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.probing import Answer
from edgekit.reports import size
from edgekit.text import printable


def show(answers: Sequence[Answer], console: Console) -> None:
    """Print a table of the devices."""
    if not answers:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("device", "target", "transport", "address", "state", "what it is"):
        table.add_column(title, overflow="fold")
    for answer in answers:
        device = answer.device
        words = (device.name, device.target or "-", device.transport, device.address or "-")
        table.add_row(*(escape(printable(each)) for each in (*words, _state(answer), _is(answer))))
    console.print(table)


def explain(answers: Sequence[Answer], console: Console) -> None:
    """Say why devices did not answer, and how to list one."""
    if not answers:
        console.print(
            "No devices are listed; write [devices.NAME] tables in edgekit.toml.", markup=False
        )
    for answer in answers:
        if answer.error is not None:
            hint = f" {answer.error.hint}" if answer.error.hint else ""
            console.print(
                f"{printable(answer.device.name)}: {answer.error.message}{hint}",
                markup=False,
                soft_wrap=True,
            )


def _state(answer: Answer) -> str:
    if answer.error is not None:
        return answer.error.reason.replace("_", " ")
    return "ready" if answer.facts else "not asked"


def _is(answer: Answer) -> str:
    facts = answer.facts
    memory = facts.get("memory_kib", "")
    words = [
        facts.get("model", ""),
        facts.get("architecture", ""),
        f"{facts['cores']} cores" if "cores" in facts else "",
        size(int(memory) * 1024) if memory.isdigit() else "",
        facts.get("python", "") if facts.get("python", "").startswith("Python ") else "no Python",
        f"emulated by {facts['emulator']}" if "emulator" in facts else "",
    ]
    return ", ".join(filter(None, words)) if facts else "-"
