"""How long the parts of one conversion take: what `edgekit convert -v` prints.

A part's time leaves out the parts within it, so that the sum is what passed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

CONVERTER = "converter"  # the vendor's own part

_taken: dict[str, float] = {}
_within: list[float] = []  # seconds of parts that ended inside each open one


@contextlib.contextmanager
def timed(part: str) -> Iterator[None]:
    """Count what happens inside as time of `part`."""
    started = time.monotonic()
    _within.append(0.0)
    try:
        yield
    finally:
        whole = time.monotonic() - started
        _taken[part] = _taken.get(part, 0.0) + whole - _within.pop()
        if _within:
            _within[-1] += whole


def taken() -> dict[str, float]:
    """Return the seconds of each part since the last call, and begin anew."""
    found = {part: round(seconds, 4) for part, seconds in _taken.items()}
    _taken.clear()
    return found
