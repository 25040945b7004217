"""TFLite's and LiteRT's ``benchmark_model``: statistics of latencies, times per operator.

What it writes was read in its documentation and its source (tensorflow/lite/tools/benchmark,
google-ai-edge/LiteRT litert/tools).  No build of it has ever run here.
"""

from __future__ import annotations

import re
from typing import Any

from edgekit.benchmarks.job import Job
from edgekit.device_agent import layer_of
from edgekit.tools import _report

TITLE = "TFLite benchmark_model"
FORMATS = ("tflite",)
PROGRAM = "benchmark_model"
WHERE = (
    "Build it, or take a nightly build: "
    "https://ai.google.dev/edge/litert/models/measurement#native_benchmark_binary"
)
TRIED = "benchmark_model was never run by edgekit's authors: its output is read as documented."
TAKES = frozenset({"threads", "profile", "delegate", "delegate_options"})
_MEBI = 2**20
_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
_DELEGATED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")


def command(program: str, job: Job, result: str) -> list[str]:  # noqa: ARG001 - it has none
    """Return the command; the tool's own rule ends its warm-up."""
    words = [
        program,
        f"--graph={job.model}",
        f"--num_threads={job.threads}",
        f"--num_runs={job.runs}",
        f"--min_secs={job.min_s:g}",
        f"--warmup_runs={max(1, job.warmup.min_runs)}",
        f"--warmup_min_secs={min(0.5, job.warmup.max_s):g}",
    ]
    if job.delegate == "none":
        words.append("--use_xnnpack=false")
    elif job.delegate:
        options = ";".join(f"{key}:{value}" for key, value in job.delegate_options.items())
        words += [
            f"--external_delegate_path={job.delegate}",
            f"--external_delegate_options={options}",
        ]
    return words + ["--enable_op_profiling=true"] * bool(job.profile)


def lines(said: str, result: str, job: Job) -> list[dict[str, Any]]:  # noqa: ARG001
    """Return what it says; nothing where it came to no result."""
    block = _report.lines(said)  # LiteRT's newer build of it
    if not block:
        block = _classic(said)
    if not block:
        return []
    taken = _DELEGATED.search(said)
    if taken:
        some, every, name = taken.groups()
        why = f"benchmark_model names no nodes: it says that {some} of {every} went to {name}"
        block.append({"event": "placement", "not_run": why})
    if job.profile:
        block.append({"event": "profile", "runs": job.runs, "nodes": _nodes(said)})
    return block


def _classic(said: str) -> list[dict[str, Any]]:
    """Return what the classic summary holds; its times are microseconds."""
    times = re.search(
        rf"Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, "
        rf"Inference \(avg\): {_NUMBER}",
        said,
    )
    counts = re.findall(r"^(?:.*\s)?(count=\d+ .*)$", said, re.MULTILINE)
    if times is None or len(counts) < 2:
        return []
    load, first, _, mean = (float(each) * 1e-6 for each in times.groups())
    warm, figures = (dict(re.findall(rf"(\w+)={_NUMBER}", line)) for line in counts[:2])
    names = {"min": "min_s", "max": "max_s", "std": "std_s", "median": "median_s"}
    names |= {"p5": "p5_s", "p95": "p95_s"}
    reported: dict[str, Any] = {"count": int(figures["count"]), "mean_s": mean}
    reported |= {new: float(figures[old]) * 1e-6 for old, new in names.items() if old in figures}
    memory = re.search(rf"Memory footprint delta .*init={_NUMBER} overall={_NUMBER}", said)
    if memory:
        reported["memory_delta_bytes"] = round(float(memory[2]) * _MEBI)
    return [
        {"event": "load", "seconds": load, "engine": TITLE},
        {"event": "first", "seconds": first},
        _report.warm_up(int(warm["count"])),
        {"event": "reported", **reported},
    ]


def _nodes(said: str) -> list[dict[str, Any]]:
    """Return seconds per operator from the last table in order of running."""
    table = said.rpartition(" Run Order ")[2].splitlines()[1:]
    titles: list[str] = []
    nodes = []
    for line in table:
        cells = [cell.strip() for cell in line.split("\t")[1:]]
        if not titles:
            titles = [cell.strip("[]") for cell in cells]
        elif len(cells) == len(titles):
            row = dict(zip(titles, cells, strict=True))
            name = re.sub(r"^\[(.*)\](:\d+)?$", r"\1", row["Name"])
            nodes.append(
                {
                    "name": name,
                    "op": row["node type"],
                    "on": None,
                    "layer": layer_of(name),
                    "seconds": float(row["avg ms"]) * 1e-3,
                    "count": int(row["times called"]),
                }
            )
        else:
            break
    return nodes
