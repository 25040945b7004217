"""What `edgekit verify --layers` shows: one row per layer, and the first that is wrong."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.layers import LayerReport
from edgekit.reports import decibels

_LONGEST = 40  # characters of an artifact's name: a converter may spell a path of classes


def show(report: LayerReport, console: Console) -> None:
    """Print the layers in the order of computation, then the verdict."""
    table = Table(box=None, pad_edge=False)
    for title in ("layer", "shape", "SQNR", "in the artifact"):
        table.add_column(title, justify="right" if title == "SQNR" else "left")
    for check in report.checks:
        wrong = not check.sqnr_db >= report.tolerance_db
        table.add_row(
            escape(check.layer),
            escape(str(list(check.shape))),
            f"[red]{decibels(check.sqnr_db)}[/]" if wrong else decibels(check.sqnr_db),
            escape(_shortened(check.artifact)),
        )
    console.print()
    console.print(table)
    if report.unmatched:
        console.print(f"{report.unmatched} more layers have no value of their own in the artifact.")
    if report.lost:
        console.print(f"First below {report.tolerance_db:g} dB: {spoken(report)}", markup=False)


def spoken(report: LayerReport) -> str:
    """Name the lost layers: one, or those that share a value in the artifact."""
    *fused, last = report.lost
    if len(fused) > 2:
        return f"between {fused[0]} and {last}"
    return f"{last} (with {', '.join(fused)} before it)" if fused else last


def _shortened(name: str) -> str:
    """Keep the end of a name, which tells it from others."""
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"
