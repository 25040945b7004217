"""The block of results that LiteRT's newer tools print, in C++ and in Python alike."""

from __future__ import annotations

import re
from typing import Any

_LINE = re.compile(
    r"^(?P<what>[A-Z][a-z]+(?: [a-z]+)?)\s*(?:\((?P<which>\w+)\))?:\s+(?P<value>[\d.]+) ms"
    r"(?: \((?P<runs>\d+) runs\))?",
    re.MULTILINE,
)
_NAMES = {"avg": "mean_s", "median": "median_s", "min": "min_s", "max": "max_s", "std": "std_s"}
_NAMES |= {"p5": "p5_s", "p95": "p95_s"}


def lines(said: str, engine: str = "LiteRT benchmark_model") -> list[dict[str, Any]]:
    """Return the lines of a runner that the block means; none where there is no block."""
    block = said.partition("BENCHMARK RESULTS")[2]
    load = first = None
    warm = 0
    reported: dict[str, Any] = {}
    for found in _LINE.finditer(block):
        seconds = float(found["value"]) * 1e-3
        match found["what"], found["which"]:
            case "Model initialization", _:
                load = seconds
            case ("First inference", _) | ("Warmup", "first"):
                first = seconds
            case "Warmup", "avg":
                warm = int(found["runs"] or 0)
            case "Inference", which if which in _NAMES:
                reported[_NAMES[which]] = seconds
                reported |= {"count": int(found["runs"])} if found["runs"] else {}
    if "mean_s" not in reported:
        return []
    return [
        {"event": "load", "seconds": load, "engine": engine},
        {"event": "first", "seconds": first},
        warm_up(warm),
        {"event": "reported", **reported},
    ]


def warm_up(runs: int) -> dict[str, Any]:
    """Return the line of a warm-up that a tool ended by its own rule."""
    why = "by the tool's own rule, which looks for no steady state"
    return {
        "event": "warmup",
        "seconds": [],
        "runs": runs,
        "batch": 1,
        "steady": False,
        "why": why,
    }
