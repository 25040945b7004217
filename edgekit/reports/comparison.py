"""What `edgekit compare` shows: both medians, the change with its interval, the verdict."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.benchmarks.comparison import Comparison
from edgekit.reports import seconds

_COLOURS = {"faster": "green", "slower": "red", "same": "none", "unstable": "yellow"}


def show(found: Comparison, console: Console) -> None:
    """Print the comparison as one row per file."""
    table = Table(box=None, pad_edge=False)
    for title in ("file", "median", "change", "between", "effect", "verdict"):
        table.add_column(title, justify="left" if title in ("file", "verdict") else "right")
    table.add_row(escape(found.first), seconds(found.first_median_s))
    finite = math.isfinite(found.low) and math.isfinite(found.high)
    table.add_row(
        escape(found.second),
        seconds(found.second_median_s),
        f"{found.change:+.1%}",
        f"{found.low:+.1%} and {found.high:+.1%}" if finite else "not known",
        f"{found.effect:+.2f}",
        f"[{_COLOURS[found.verdict]}]{found.verdict}[/]",
    )
    console.print(table)


def explain(found: Comparison, console: Console) -> None:
    """Say what the verdict rests on, and what to change where there is none."""
    how = f"{found.rounds} rounds of turns" if found.rounds else "records of different times"
    console.print(
        f"{how}, margin ±{found.margin:.0%}: {found.reason}", markup=False, soft_wrap=True
    )
    if found.hint:
        console.print(f"hint: {found.hint}", markup=False, soft_wrap=True)
