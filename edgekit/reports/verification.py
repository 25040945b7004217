"""What `edgekit verify` shows: one row per output, and the verdict as the exit code."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.errors import VerdictError
from edgekit.quantize.placement import Placement
from edgekit.reports import decibels, largest_error
from edgekit.verification import FAILED, NOT_RUN, Verification

_UNSTEADY_DB = 40.0  # below it, rounding alone explains much of what artifact and graph differ by


def show(verdict: Verification, console: Console) -> None:
    """Print the verdict and one row per output."""
    said = verdict.status.replace("_", " ")
    where = f" in {verdict.runtime} on {verdict.samples} samples" if verdict.samples else ""
    console.print(f"{said}{where}", markup=False)
    figures = both_figures(verdict)
    if figures:
        console.print(figures, markup=False)
    if not verdict.outputs:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("output", "type", "shape", "SQNR", "cosine", "max abs error", "same argmax"):
        table.add_column(title, overflow="fold")
    for check in verdict.outputs:
        agreement = check.argmax_agreement
        table.add_row(
            escape(check.name),
            check.dtype,
            escape(str(list(check.shape))),
            decibels(check.sqnr_db),
            f"{check.cosine:.8f}",
            largest_error(check.max_abs, check.nonfinite_mismatch),
            "-" if agreement is None else f"{agreement:.2%}",
        )
    console.print(table)


def both_figures(verdict: Verification) -> str:
    """Say what rounding to float16 costs; empty for what does not compute in float16."""
    if verdict.float32_sqnr_db is None:
        return ""
    return (
        f"SQNR {decibels(verdict.sqnr_db)} in float16, {decibels(verdict.float32_sqnr_db)} "
        "with the same weights in float32 arithmetic"
    )


def quantization(verdict: Verification) -> list[str]:
    """Say what quantization cost, apart from conversion, and what it was calibrated on."""
    if verdict.quantization_sqnr_db is None:
        return []
    figures = (
        f"SQNR {decibels(verdict.quantization_sqnr_db)} of the quantized graph against the float "
        f"model, {decibels(verdict.sqnr_db)} of the artifact against the quantized graph"
    )
    if (nearest := verdict.rounding_sqnr_db) is not None and nearest < _UNSTEADY_DB:
        figures += f", where two right computations of that graph are {decibels(nearest)} apart"
    placed = [Placement.from_json(verdict.placement).told] if verdict.placement else []
    return [figures, verdict.calibration, *verdict.remarks, *placed]


def explain(verdict: Verification, console: Console) -> None:
    """Say why it failed or did not run, and what weakens a pass."""
    if verdict.reason:
        console.print(verdict.reason, markup=False, soft_wrap=True)
    if verdict.note:
        console.print(verdict.note, markup=False, soft_wrap=True)
    for check in verdict.outputs:
        for note in check.notes:
            console.print(f"{check.name}: {note}", markup=False, soft_wrap=True)


def exit_code(verdict: Verification, *, require_verified: bool) -> int:
    """Return 3 when the artifact failed, or was to be run and was not, else 0."""
    bad = {FAILED, NOT_RUN} if require_verified else {FAILED}
    return VerdictError.exit_code if verdict.status in bad else 0
