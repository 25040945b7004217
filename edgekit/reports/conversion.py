"""What a conversion reports: a table of artifacts on stdout, reasons on stderr, an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.clock import CONVERTER
from edgekit.conversion import ConvertReport, FormatResult
from edgekit.errors import EdgekitError, VerdictError
from edgekit.quantize.fit.within import Fast, Within, of_float
from edgekit.reports import decibels, largest_error, seconds, size
from edgekit.reports.verification import both_figures, quantization
from edgekit.verification import FAILED, NOT_RUN

_COLOURS = {"passed": "green", "failed": "red", "not_run": "yellow"}
_CULPRITS = 5  # layers, at least, that a budget's report names


def show(report: ConvertReport, console: Console) -> None:
    """Print one row per format."""
    table = Table(box=None, pad_edge=False)
    for title in (
        "format",
        "status",
        "size",
        "SQNR",
        "max abs error",
        "checked in",
        "time",
        "file",
    ):
        table.add_column(
            title, justify="right" if title in ("size", "time") else "left", overflow="fold"
        )
    for result in report.results:
        verdict, made = result.verification, result.artifact
        table.add_row(
            result.format,
            f"[{_COLOURS[result.status]}]{result.status.replace('_', ' ')}[/]",
            size(made.size_bytes) if made else "-",
            decibels(verdict.sqnr_db if verdict else None),
            largest_error(verdict.max_abs, verdict.nonfinite_mismatch) if verdict else "-",
            (verdict.runtime if verdict else "") or "-",
            "cached" if result.cached else seconds(result.seconds),
            escape(str(made.path if made else result.rejected or "-")),
        )
    console.print(table)


def explain(report: ConvertReport, console: Console, *, verbose: bool) -> None:
    """Say why what did not pass did not; in `verbose`, also what each process took."""
    if report.fitted is not None:
        fitted = report.fitted
        for line in _budget(fitted) if isinstance(fitted, Within) else _speed(fitted):
            console.print(line, markup=False, soft_wrap=True)
    for result in report.results:
        for line in _explanation(result):
            console.print(line, markup=False, soft_wrap=True)
        if verbose and result.error is not None:
            console.print("".join(traceback.format_exception(result.error)), markup=False)
        if verbose and result.peak_rss_bytes:
            console.print(f"{result.format}: peak memory {size(result.peak_rss_bytes)}")
            console.print(f"{result.format}: {_parts(result.parts)}", soft_wrap=True)
    if verbose and report.parts:
        console.print(f"export: {_parts(report.parts)}", soft_wrap=True)


def _parts(parts: Mapping[str, float]) -> str:
    """Return what the passes took, beside the vendor's converter where there is one."""
    passes = {name: taken for name, taken in parts.items() if name != CONVERTER}
    each = sorted(passes.items(), key=lambda pair: -pair[1])
    told = f"passes {seconds(sum(passes.values()))}"
    if CONVERTER in parts:
        share = sum(passes.values()) / parts[CONVERTER]
        told = f"converter {seconds(parts[CONVERTER])}, {told} ({share:.0%} of that)"
    return f"{told}: " + ", ".join(f"{name} {seconds(taken)}" for name, taken in each)


def _budget(found: Within) -> list[str]:
    """Say which layers are at fault, what each is made in, and what that costs."""
    losses = f"{found.all_integer:.2%} as the recipe began, {found.loss:.2%} as converted"
    lines = [f"accuracy budget {found.budget:.2%}, {found.metric}: {losses}"]
    shown = [each for each in found.layers if each.layer in found.chosen]
    rest = [each for each in found.layers if each.layer not in found.chosen]
    lines += [
        f"  {each.layer}: alone it brings the outputs to {each.sqnr_db:.1f} dB: "
        + (f"made in {found.chosen[each.layer]}" if each in shown else f"stays in {each.first}")
        for each in [*shown, *rest[: max(0, _CULPRITS - len(shown))]]
    ]
    counts = ", ".join(f"{count} in {name}" for name, count in found.counts.items())
    lines.append(
        f"  {len(found.layers)} layers: {counts}; {found.float_macs:.1%} of the multiplications in "
        f"float, {size(found.extra_bytes)} of weights more"
    )
    lines += [f"  {name} could not be chosen: {why}" for name, why in found.refused.items()]
    for name, made in found.costs.items():
        lines += [f"  {name}, {each.told}: {of_float(each)}" for each in made]
    return lines


def _speed(found: Fast) -> list[str]:
    """Say what was timed, and which layers compute in float for it."""
    times = ", ".join(f"{each.told} {each.ratio:.2f}" for each in found.trials)
    lines = [f"{found.format}, time here over the float artifact's: {times}"]
    lines += [f"  {len(found.slow[kind])} {kind} compute in float" for kind in found.slow]
    return [*lines, f"  as converted: {found.ratio:.2f}"]


def _explanation(result: FormatResult) -> list[str]:
    verdict = result.verification
    lines = []
    if result.error is not None:
        lines.append(f"{result.format}: {result.error.message}")
        if result.error.hint:
            lines.append(f"  hint: {result.error.hint}")
    elif verdict is not None and verdict.status == FAILED:
        lines.append(f"{result.format}: verification failed: {verdict.reason}")
        lines.append(f"  The artifact was put aside as {result.rejected}.")
    elif verdict is not None and verdict.status == NOT_RUN:
        lines.append(f"{result.format}: converted, not verified: {verdict.reason}")
    if result.reproducer is not None:
        part = result.reproducer
        lines.append(f"{result.format}: the smallest part that fails: {part.reason}")
        lines += [f"  {each}" for each in part.operators]
        lines.append(f"  It is kept in {part.path}, with a script for the converter's own tracker.")
    if verdict is not None:
        said = filter(None, (both_figures(verdict), *quantization(verdict), verdict.note))
        lines += [f"{result.format}: {each}" for each in said]
        lines += [
            f"{result.format}: {check.name}: {note}"
            for check in verdict.outputs
            for note in check.notes
        ]
    return lines


def exit_code(report: ConvertReport, *, require_verified: bool) -> int:
    """Return 1 when a conversion failed, 3 when a verdict did, else 0."""
    if any(result.error is not None for result in report.results):
        return EdgekitError.exit_code
    bad = {FAILED, NOT_RUN} if require_verified else {FAILED}
    return VerdictError.exit_code if any(r.status in bad for r in report.results) else 0
