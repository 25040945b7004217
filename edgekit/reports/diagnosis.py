"""What `edgekit doctor` shows."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.diagnosis import Diagnosis


def show(found: Diagnosis, console: Console) -> None:
    """Print the machine's facts, then one row per format and runtime."""
    for name, value in found.machine.items():
        console.print(f"{name}: {value}", markup=False)
    table = Table(box=None, pad_edge=False)
    for title in ("", "name", "works", "versions, or what to do"):
        table.add_column(title, overflow="fold")
    for finding in found.findings:
        told = finding.versions if finding.works else f"{finding.reason} {finding.remedy}"
        table.add_row(
            finding.kind,
            finding.name,
            "[green]yes[/]" if finding.works else "[yellow]no[/]",
            escape(told.strip()),
        )
    console.print(table)
