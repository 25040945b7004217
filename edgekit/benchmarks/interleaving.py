"""Measure two artifacts in turns on this machine, until it is clear which one is faster."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import formats, registry, runtimes
from edgekit.benchmarks import HERE, Request, inputs_in, job_of, loop
from edgekit.benchmarks.comparison import LOOKS, UNSTABLE, Comparison, compare
from edgekit.benchmarks.job import SCHEMA_VERSION, Job
from edgekit.benchmarks.record import Journal, seal
from edgekit.errors import BenchmarkError, UsageError

ROUNDS = 40
TURN = 0.01  # seconds: short, so that both turns of a round find the machine in one state


def interleave(
    first: Path,
    second: Path,
    request: Request,
    *,
    rounds: int = ROUNDS,
    turn_s: float = TURN,
    margin: float | None = None,
    output: Path | None = None,
) -> Comparison:
    """Measure two files in turns and compare them; each look is of a new pair of processes.

    Args:
        first: The one to compare with.
        second: The one in question.
        request: How to measure; its scenario has to be single-stream.
        rounds: Of two turns each, per pair of processes.
        turn_s: Length of a turn in seconds; slow models take three inferences at least.
        margin: As for `compare`.
        output: Folder to keep both records in.

    Raises:
        UsageError: the request is not right.
        EdgekitError: the run came to no good end.
    """
    if request.scenario != "single-stream":
        raise UsageError(
            f"Scenario {request.scenario} cannot be measured in turns.",
            "Measure it twice, and compare the records.",
        )
    run_id = loop.new_run_id()
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        data = inputs_in(request.input_data, Path(folder))
        jobs = [_job(path, request, data, run_id) for path in (first, second)]
        base = output if output is not None else loop.journal_path(run_id, None).parent
        headers = [_header(path, job) for path, job in zip((first, second), jobs, strict=True)]
        with (
            Journal(base / f"{run_id}-first.jsonl", headers[0]) as one,
            Journal(base / f"{run_id}-second.jsonl", headers[1]) as two,
        ):
            for look in range(LOOKS):
                _look((one, two), jobs, rounds, turn_s, look)
                found = compare(one.record(), two.record(), margin=margin)
                if found.verdict != UNSTABLE:
                    break
            if output is not None:
                for journal in (one, two):
                    seal(journal.record(), journal.path.with_suffix(".json"))
            return found


def _job(path: Path, request: Request, data: dict[str, str], run_id: str) -> Job:
    runtime = runtimes.choose(formats.of_path(path), request.runtime)
    return replace(job_of(path, request, runtime, data), turns=True, run_id=run_id)


def _header(path: Path, job: Job) -> dict[str, Any]:
    note = registry.load("runtimes", job.runtime).NOTE
    return loop.header_of(path, job, note=note, target=HERE)


def _look(
    journals: tuple[Journal, Journal], jobs: Sequence[Job], rounds: int, turn_s: float, look: int
) -> None:
    """Let one pair of processes take its turns; every line goes to the journal of its side."""
    last: dict[str, Any] = {}

    def sort_in(text: str) -> None:
        nonlocal last
        try:
            last = json.loads(text)
        except ValueError:
            return  # talk
        if "side" in last:
            if "session" in last:
                last["session"] += look * rounds
            journals[last["side"]].add(json.dumps(last))

    pair = {
        "schema_version": SCHEMA_VERSION,
        "run_id": jobs[0].run_id,
        "rivals": [job.to_json() for job in jobs],
        "rounds": rounds,
        "turn_s": turn_s,
        "pairs": 1,
    }
    code, said = loop.start_here(pair, journals[0].path, sort_in, 600 + 20 * rounds * turn_s)
    if last.get("event") == "error":
        raise loop.error_of(last)
    if code:
        raise BenchmarkError(f"The runner {loop.end_of(code)}{f': {said}' if said else ''}.")
