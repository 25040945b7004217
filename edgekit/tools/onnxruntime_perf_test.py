"""ONNX Runtime's ``onnxruntime_perf_test``: every latency, in a file.

What it writes was read in its documentation and its source (onnxruntime/test/perftest).  No build
of it has ever run here: the Python packages do not hold it.
"""

from __future__ import annotations

import re
from typing import Any

from edgekit.benchmarks.job import Job
from edgekit.errors import UsageError
from edgekit.tools import _report

TITLE = "ONNX Runtime onnxruntime_perf_test"
FORMATS = ("onnx",)
PROGRAM = "onnxruntime_perf_test"
WHERE = "It is built with ONNX Runtime: https://onnxruntime.ai/docs/build/inferencing.html"
TRIED = "onnxruntime_perf_test was never run by edgekit's authors: it is read as documented."
TAKES = frozenset({"threads", "providers", "provider_options", "session_config"})


def command(program: str, job: Job, result: str) -> list[str]:
    """Return the command; inputs are the tool's own, at random (``-I``).

    Raises:
        UsageError: more than one provider is asked for, which it cannot be.
    """
    if len(job.providers) > 1:
        raise UsageError(
            f"onnxruntime_perf_test takes one execution provider, not {len(job.providers)}.",
            "Give --provider once; what it does not take runs on the CPU.",
        )
    name = (job.providers[0] if job.providers else "CPUExecutionProvider").lower()
    words = [program, "-I", "-e", name.removesuffix("executionprovider")]
    words += ["-x", str(job.threads), "-y", "1"]
    if job.min_s > 0:
        words += ["-m", "duration", "-t", str(max(1, round(job.min_s)))]
    else:
        words += ["-m", "times", "-r", str(job.runs)]
    pairs = {"-C": job.session_config, "-i": dict(*job.provider_options)}
    for option, chosen in pairs.items():
        if chosen:
            words += [option, " ".join(f"{key}|{value}" for key, value in chosen.items())]
    return [*words, job.model, result]


def lines(said: str, result: str, job: Job) -> list[dict[str, Any]]:  # noqa: ARG001
    """Return what it says; nothing where its file holds no latency."""
    samples = _samples(result)
    if not samples:
        return []
    load = re.search(r"Session creation time cost: ?([\d.e+-]+) s", said)
    first = re.search(r"First inference time cost: ?(\d+) ms", said)
    peak = re.search(r"Peak working set size: ?(\d+)", said)
    return [
        {"event": "load", "seconds": float(load[1]) if load else None, "engine": TITLE},
        {"event": "first", "seconds": int(first[1]) * 1e-3 if first else None},
        _report.warm_up(1),
        {"event": "samples", "series": "latency", "t": 0.0, "batch": 1, "seconds": samples},
        {"event": "done", "peak_rss_bytes": int(peak[1]) if peak else None},
    ]


def _samples(table: str) -> list[float]:
    """Return the seconds of each run: a row is model, time, peak memory, processor use, number.

    Since 2025 a row has two times: until the work was handed to the device, and until it was done.
    """
    rows = [line.split(",") for line in table.splitlines()]
    return [float(row[-4]) for row in rows if len(row) in (5, 6) and row[-1].strip().isdigit()]
