"""``litert-benchmark``, which comes with the package ai-edge-litert: statistics of latencies."""

from __future__ import annotations

import json
from typing import Any

from edgekit.benchmarks.job import Job
from edgekit.tools import _report

TITLE = "LiteRT litert-benchmark"
FORMATS = ("tflite",)
PROGRAM = "litert-benchmark"
WHERE = "pip install ai-edge-litert"
TRIED = None
TAKES = frozenset({"threads"})


def command(program: str, job: Job, result: str) -> list[str]:
    """Return the command; it counts runs and knows no shortest time."""
    return [
        program,
        f"--model={job.model}",
        f"--num_threads={job.threads}",
        f"--num_runs={job.runs}",
        f"--warmup_runs={max(1, job.warmup.min_runs)}",
        f"--result_json={result}",
    ]


def lines(said: str, result: str, job: Job) -> list[dict[str, Any]]:  # noqa: ARG001
    """Return what its file says, whose times are milliseconds with two decimals."""
    if not result:
        return []
    told = json.loads(result)
    figures = {name: value * 1e-3 for name, value in told["latency"].items() if "_ms" in name}
    names = ("median", "min", "max", "std", "p5", "p95")
    where = ", ".join(told["accelerators"])
    whole = "all" if told["fully_accelerated"] else "not all"
    return [
        {"event": "load", "seconds": figures["init_ms"], "engine": TITLE},
        {"event": "first", "seconds": figures["warmup_first_ms"]},
        _report.warm_up(told["latency"]["num_warmup_runs"]),
        {
            "event": "reported",
            "count": told["latency"]["num_runs"],
            "mean_s": figures["avg_ms"],
            **{f"{name}_s": figures[f"{name}_ms"] for name in names if f"{name}_ms" in figures},
            "resolution_s": 1e-5,
        },
        {
            "event": "placement",
            "not_run": f"litert-benchmark names no nodes: it says that {whole} run on {where}",
        },
    ]
