"""Scenarios: how inferences follow each other.  Their names are MLPerf's; streaming is ours.

A scenario is written ``name`` or ``name:key=value,key=value``: ``server:qps=50,bound=20ms``.
Durations have a unit (``us``, ``ms``, ``s``, ``m``, ``h``) or are seconds; lists are joined by
``+``: ``offline:batches=1+4+8,workers=1+2``.

Source of the names: Reddi et al., MLPerf inference benchmark, ISCA 2020, section III-C.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.errors import UsageError
from edgekit.registry import match

_UNITS = {"": 1.0, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Scenario:
    """A scenario's parameters with their defaults, and what its latencies mean."""

    name: str
    meaning: str
    defaults: Mapping[str, Any]


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("single-stream", "of one inference; the next starts when it is done", {}),
        Scenario(
            "multi-stream",
            "of a query: several inferences at once, until the last is done",
            {"streams": 8, "workers": 1},
        ),
        Scenario(
            "offline",
            "of one batch, while all workers are busy",
            {"batches": (1,), "workers": (1,), "seconds": 2.0},
        ),
        Scenario(
            "server",
            "from a query's arrival, which is random (Poisson), to its answer",
            {"qps": 10.0, "seconds": 5.0, "bound": 0.1, "workers": 1, "seed": 0},
        ),
        Scenario(
            "streaming",
            "from a frame's arrival, at a fixed rate, to its result",
            {"fps": 30.0, "seconds": 5.0, "on_late": "drop"},
        ),
    )
}


def parse(text: str) -> dict[str, Any]:
    """Return a scenario as a job holds it, from ``name:key=value,...``.

    Raises:
        UsageError: there is no scenario or parameter of that name, or a value is not possible.
    """
    head, _, tail = text.partition(":")
    scenario = SCENARIOS[match(head, SCENARIOS, "scenario")]
    chosen = dict(scenario.defaults)
    for part in filter(None, tail.split(",")):
        key, _, value = part.partition("=")
        known = match(key, scenario.defaults, f"parameter of scenario {scenario.name}")
        chosen[known] = _value(known, value, scenario.defaults[known])
    return {"name": scenario.name, **chosen}


def duration(text: str) -> float:
    """Return seconds, of a number with a unit: ``10m``, ``250ms``, ``1.5``.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-zµ]*)\s*", text)
    if found is None or found[2] not in _UNITS:
        raise UsageError(f"{text!r} is no duration.", "Write it like 10m, 2s or 250ms.")
    return float(found[1]) * _UNITS[found[2]]


def _value(key: str, text: str, default: Any) -> Any:
    if isinstance(default, tuple):
        return [_value(key, each, default[0]) for each in text.split("+")]
    if isinstance(default, str):
        return match(text, ("drop", "queue"), key)
    if key in ("seconds", "bound"):
        return duration(text)
    try:
        value = type(default)(text)
    except ValueError:
        raise UsageError(
            f"{key}={text} is not possible.", f"Write it like {key}={default}."
        ) from None
    if value <= 0 and key != "seed":
        raise UsageError(f"{key}={text} is not possible.", "Give a number above zero.")
    return value


def outcome(
    scenario: Mapping[str, Any], chunks: Sequence[Mapping[str, Any]], samples: Sequence[float]
) -> dict[str, Any]:
    """Return what a scenario asks for beside latencies: rates, deadlines, and whether they held.

    Args:
        scenario: As the job holds it.
        chunks: The ``samples`` lines of the answer, without their seconds.
        samples: All latencies in seconds.
    """
    name = scenario["name"]
    if name == "server":
        return _server(scenario, chunks, samples)
    if name == "streaming":
        return _streaming(chunks, samples)
    if name == "offline":
        keys = ("batch_size", "workers", "per_second", "not_run")
        return {"throughput": [{k: c[k] for k in keys if k in c} for c in chunks]}
    if name == "multi-stream":
        return {"streams": scenario["streams"], "p99_s": float(np.percentile(samples, 99))}
    return {}


def _server(
    scenario: Mapping[str, Any], chunks: Sequence[Mapping[str, Any]], samples: Sequence[float]
) -> dict[str, Any]:
    tail = float(np.percentile(samples, 99))
    last = chunks[-1] if chunks else {}
    queued = [each for chunk in chunks for each in chunk.get("queued_s", ())]
    return {
        "asked_qps": scenario["qps"],
        "p99_s": tail,
        "bound_s": scenario["bound"],
        "bound_met": tail <= scenario["bound"],
        "queued_median_s": float(np.median(queued)) if queued else None,
        "backlog": last.get("backlog"),
    }


def _streaming(chunks: Sequence[Mapping[str, Any]], samples: Sequence[float]) -> dict[str, Any]:
    late = sum(chunk.get("late", 0) for chunk in chunks)
    dropped = sum(chunk.get("dropped", 0) for chunk in chunks)
    return {
        "frames": len(samples) + dropped,
        "missed": late + dropped,
        "late": late,
        "dropped": dropped,
        "deadlines_met": late + dropped == 0,
    }
