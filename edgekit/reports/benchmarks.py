"""What `edgekit benchmark` shows: one row per record, then what is special about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.benchmarks import BenchmarkRecord
from edgekit.reports import seconds, size
from edgekit.text import printable

_TITLES = ("file", "runtime", "threads", "runs", "load", "first", "median", "±", "p95", "p99")
_LEFT = ("file", "runtime", "verdict")
_SLOWEST = 10


def show(records: Sequence[BenchmarkRecord], console: Console) -> None:
    """Print latencies per record; then rates, cold starts, profile and curve where there are."""
    table = _table(*_TITLES, "max", "verdict")
    for record in records:
        table.add_row(*_row(record))
    console.print(table)
    for record in records:
        for extra in _extras(record):
            console.print()
            console.print(f"{record.path}: {extra.title}", markup=False)
            extra.title = None
            console.print(extra)


def explain(records: Sequence[BenchmarkRecord], console: Console, *, verbose: bool = False) -> None:
    """Name the machine, what was wrong with it, where nodes ran, and what was not measured."""
    console.print(_machine(records[0]), markup=False, soft_wrap=True)
    for record in records:
        for line in (*_doubts(record), *_placement(record), *(_details(record) if verbose else ())):
            console.print(f"{record.path}: {line}", markup=False, soft_wrap=True)
    for note in dict.fromkeys(record.note for record in records if record.note):
        console.print(note, markup=False, soft_wrap=True)


def _table(*titles: str, title: str | None = None) -> Table:
    table = Table(box=None, pad_edge=False, title=title)
    for each in titles:
        table.add_column(each, justify="left" if each in _LEFT else "right", overflow="fold")
    return table


def _row(record: BenchmarkRecord) -> list[str]:
    judged = record.judged()
    if record.reported and not record.emulator:
        return _reported(record, record.reported)
    if record.emulator or not record.samples_s:
        said = "emulated" if record.emulator else "estimate" if record.estimate else "not run"
        return [escape(str(record.path)), escape(printable(record.runtime)), *["-"] * 9, said]
    found = judged["summary"]
    levels = found["percentiles_s"]
    width = (found["median_high_s"] - found["median_low_s"]) / 2 / found["median_s"]
    return [
        escape(str(record.path)),
        escape(printable(record.runtime)),
        str(record.threads),
        str(len(record.samples_s)),
        _time(record.load_s),
        _time(record.first_s),
        seconds(found["median_s"]),
        f"{width:.1%}",
        _time(levels["p95"]),
        _time(levels["p99"]),
        seconds(found["max_s"]),
        judged["verdict"]["status"],
    ]


def _reported(record: BenchmarkRecord, told: Mapping[str, Any]) -> list[str]:
    """Return the row of a tool's own statistics; what it does not tell is left open."""
    cells = [_time(told.get(name)) for name in ("median_s", "", "p95_s", "", "max_s")]
    return [
        escape(str(record.path)),
        escape(printable(record.runtime)),
        str(record.threads),
        str(told.get("count", "-")),
        _time(record.load_s),
        _time(record.first_s),
        *cells,
        "reported",
    ]


def _time(value: float | None) -> str:
    return "-" if value is None else seconds(value)


def _extras(record: BenchmarkRecord) -> Iterable[Table]:
    """Yield the tables that a record has beside its row."""
    if record.emulator:
        return
    if record.estimate:
        yield _estimate(record, record.estimate)
        return
    outcome = record.judged().get("outcome", {})
    if "throughput" in outcome:
        yield _throughput(outcome["throughput"])
    elif outcome:
        table = _table(*outcome, title=record.scenario["name"])
        table.add_row(*map(_plain, outcome.items()))
        yield table
    if "cold_total" in record.series:
        yield _cold(record)
    if record.job.get("sustained_s"):
        yield _curve(record)
    if record.profile and "nodes" in record.profile:
        yield _profile(record.profile["nodes"])


def _plain(item: tuple[str, Any]) -> str:
    key, value = item
    return _time(value) if key.endswith("_s") else "-" if value is None else str(value)


def _throughput(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("batch", "workers", "inferences/s", title="offline")
    for each in rows:
        rate = each.get("not_run") or f"{each['per_second']:.1f}"
        table.add_row(str(each.get("batch_size")), str(each.get("workers", "-")), rate)
    return table


def _cold(record: BenchmarkRecord) -> Table:
    table = _table("starts", "load", "first", "process to first result", title="cold starts")
    names = ("cold_load", "cold_first", "cold_total")
    medians = [seconds(float(np.median(record.series[name]))) for name in names]
    table.add_row(str(len(record.series["cold_total"])), *medians)
    return table


def _estimate(record: BenchmarkRecord, figures: Mapping[str, Any]) -> Table:
    """Return what a compiler expects; a latency is the accelerator's part only."""
    nodes = (record.placement or {}).get("nodes", ())
    taken = sum("reason" not in node for node in nodes)
    table = _table(
        "operations on NPU",
        "on CPU",
        "NPU cycles",
        "SRAM",
        "flash",
        "estimated latency, NPU part",
        title="estimate, not measured",
    )
    table.add_row(
        str(taken),
        str(len(nodes) - taken),
        f"{figures['cycles_npu']:,}",
        size(figures["sram_bytes"]),
        size(figures["off_chip_flash_bytes"]),
        seconds(figures["latency_s"]) if taken else "-",
    )
    return table


def _curve(record: BenchmarkRecord) -> Table:
    """Return the median over time, in up to 20 parts, as figures and bars."""
    table = _table("from", "median", "verdict", title="sustained")
    table.columns[-1].header = ""
    taken = list(record.stretches())
    parts = [taken[n] for n in range(len(taken))]
    hop = -(-len(parts) // 20)
    rows = [
        (parts[n][0]["t"], float(np.median([x for _, s in parts[n : n + hop] for x in s])))
        for n in range(0, len(parts), hop)
    ]
    longest = max(median for _, median in rows)
    for start, median in rows:
        table.add_row(
            f"{start - rows[0][0]:.0f} s", seconds(median), "█" * round(40 * median / longest)
        )
    return table


def _profile(nodes: Sequence[Mapping[str, Any]]) -> Table:
    """Return the slowest nodes."""
    table = _table("node", "layer", "op", "on", "time", "share", title="profile")
    for column in table.columns[:4]:
        column.justify = "left"
    total = sum(node["seconds"] for node in nodes) or 1.0
    for node in sorted(nodes, key=lambda each: -each["seconds"])[:_SLOWEST]:
        table.add_row(
            escape(printable(node["name"])),
            escape(printable(_where(node) or "-")),
            escape(printable(str(node.get("op")))),
            escape(printable(str(node.get("on") or "-"))),
            seconds(node["seconds"]),
            f"{node['seconds'] / total:.0%}",
        )
    return table


def _machine(record: BenchmarkRecord) -> str:
    if record.estimate:
        figures = record.estimate
        return (
            f"{record.target['name']} at {figures['clock_hz'] / 1e6:g} MHz, "
            f"{figures['system_config']}, {figures['memory_mode']}; "
            f"the estimate leaves out {figures['leaves_out']}"
        )
    load = record.states[0].get("load") if record.states else None
    facts = record.machine
    known = [facts.get("model") or "", str(facts.get("processor")), f"{facts.get('cores')} cores"]
    said = printable(", ".join(filter(None, known)))
    return f"{said}, load {'unknown' if load is None else f'{load:.2f}'}"


def _doubts(record: BenchmarkRecord) -> Iterable[str]:
    """Yield what is wrong with an unstable record's times, and what to do."""
    if record.emulator:
        count = len(record.samples_s)
        yield f"measured {count} samples on {printable(record.emulator)}, not on a device: no times"
        return
    if record.reported:
        mean = _time(record.reported.get("mean_s"))
        yield f"the tool reports a mean of {mean}, and no samples: nothing more can be computed"
    findings = record.findings
    if not any(each.symptom for each in findings):
        return
    for each in findings:
        yield f"{'unstable' if each.symptom else 'perhaps because'}: {each.message}; {each.remedy}"


def _placement(record: BenchmarkRecord) -> Iterable[str]:
    """Yield which nodes fell back, where some did."""
    nodes = (record.placement or {}).get("nodes", ())
    back = [node for node in nodes if "reason" in node]
    if not back:
        return
    ops = ", ".join(f"{count} {op}" for op, count in Counter(n["op"] for n in back).most_common(5))
    reasons = ", ".join(dict.fromkeys(node["reason"] for node in back))
    said = f"{len(back)} of {len(nodes)} nodes fell back to {back[0]['on']}: {ops} ({reasons})"
    places = list(dict.fromkeys(filter(None, map(_where, back))))
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    yield printable(said + (f"; {', '.join(places[:5])}{more}" if places else ""))


def _where(node: Mapping[str, Any]) -> str:
    """Return which layer a node is of, or follows."""
    return node.get("layer") or (f"after {node['after']}" if node.get("after") else "")


def _details(record: BenchmarkRecord) -> Iterable[str]:
    for name in ("copy_in", "copy_out", "overhead"):
        if not record.emulator and record.series.get(name):
            yield f"{name} {seconds(float(np.median(record.series[name])))}"
    peak = (record.done or {}).get("peak_rss_bytes")
    if peak:
        yield f"peak memory {size(peak)}"
    missing = record.states[-1].get("not_run", {}) if record.states else {}
    for name, reason in missing.items():
        yield f"{name} not run: {reason}"
