"""Reports: results as tables for people.  Nothing here computes a result."""

from __future__ import annotations


def size(count: int) -> str:
    """Return a size in bytes, in the largest unit that keeps it above one: ``3.4 MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def seconds(value: float) -> str:
    """Return a duration with three significant digits: ``1.23 ms``."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale or unit == "µs":
            return f"{value / scale:.3g} {unit}"
    raise AssertionError


def decibels(value: float | None) -> str:
    """Return an SQNR: ``112.3 dB``, ``exact`` when infinite, ``-`` when there is none."""
    if value is None:
        return "-"
    return "exact" if value == float("inf") else f"{value:.1f} dB"


def largest_error(value: float | None, nonfinite: int) -> str:
    """Return an absolute error; ``NaN/Inf`` where that many values are so on one side only."""
    if nonfinite:
        return "NaN/Inf"
    return "-" if value is None else f"{value:.2g}"
