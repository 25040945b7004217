"""What `edgekit benchmark` shows: one row per model file."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.benchmarks import BenchmarkRecord
from edgekit.reports import seconds


def show(records: Sequence[BenchmarkRecord], console: Console) -> None:
    """Print latency per file: load, first inference, then percentiles of the timed ones."""
    table = Table(box=None, pad_edge=False)
    for title in ("file", "runtime", "threads", "runs", "load", "first", "median", "p95", "max"):
        table.add_column(
            title, justify="left" if title in ("file", "runtime") else "right", overflow="fold"
        )
    for record in records:
        table.add_row(
            escape(str(record.path)),
            record.runtime,
            str(record.threads),
            str(len(record.samples_s)),
            seconds(record.load_s),
            seconds(record.first_s),
            seconds(record.median_s),
            seconds(record.percentile(95)),
            seconds(max(record.samples_s)),
        )
    console.print(table)


def explain(records: Sequence[BenchmarkRecord], console: Console) -> None:
    """Name the machine, and say what must be known of the runtimes."""
    machine = records[0].machine
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load_1min']}",
        markup=False,
    )
    for note in dict.fromkeys(record.note for record in records if record.note):
        console.print(note, markup=False, soft_wrap=True)
