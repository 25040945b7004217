"""Measure two artifacts in turns, here or on a device, until it is clear which one is faster."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgekit import formats, registry, runtimes
from edgekit.benchmarks import HERE, Request, inputs_in, job_of, loop
from edgekit.benchmarks.comparison import LOOKS, UNSTABLE, Comparison, compare
from edgekit.benchmarks.job import SCHEMA_VERSION, Job
from edgekit.benchmarks.record import Journal, seal
from edgekit.devices import Device
from edgekit.errors import BenchmarkError, EdgekitError, UsageError

ROUNDS = 40
TURN = 0.01  # seconds: short, so that both turns of a round find the machine in one state


@dataclass(frozen=True)
class Place:
    """Where turns are taken.

    Attributes:
        runtimes: Of each file.
        about: What a record says of it.
        start: Starts a pair of jobs: (jobs, pair, on_line, timeout) to exit code and last words.
    """

    runtimes: Sequence[str]
    about: Mapping[str, Any]
    start: Callable[..., tuple[int, str]]


def interleave(
    first: Path,
    second: Path,
    request: Request,
    *,
    rounds: int = ROUNDS,
    turn_s: float = TURN,
    margin: float | None = None,
    output: Path | None = None,
    device: Device | None = None,
    provision: bool = False,
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
        device: Where; None: on this machine.
        provision: Bring the runtimes along to the device.

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
    paths = (first, second)
    base = output if output is not None else loop.journal_path(run_id, None).parent
    with (
        tempfile.TemporaryDirectory(prefix="edgekit-") as folder,
        _place(paths, request, device, base, provision) as place,
    ):
        data = inputs_in(request.input_data, Path(folder))
        jobs = [
            replace(job_of(path, request, runtime, data), turns=True, run_id=run_id)
            for path, runtime in zip(paths, place.runtimes, strict=True)
        ]
        headers = [_header(path, job, place) for path, job in zip(paths, jobs, strict=True)]
        with (
            Journal(base / f"{run_id}-first.jsonl", headers[0]) as one,
            Journal(base / f"{run_id}-second.jsonl", headers[1]) as two,
        ):
            for look in range(LOOKS):
                _look(place, (one, two), jobs, rounds, turn_s, look)
                found = compare(one.record(), two.record(), margin=margin)
                if found.verdict != UNSTABLE:
                    break
            if output is not None:
                for journal in (one, two):
                    seal(journal.record(), journal.path.with_suffix(".json"))
            return found


@contextmanager
def _place(
    paths: Sequence[Path], request: Request, device: Device | None, base: Path, provision: bool
) -> Iterator[Place]:
    """Find out where turns are taken, and with which runtimes."""
    if device is None:
        found = [runtimes.choose(formats.of_path(path), request.runtime) for path in paths]
        yield Place(found, HERE, partial(_start_here, base))
        return
    from edgekit.benchmarks import rivals

    with rivals.benches(device, paths, request.runtime, provision=provision) as places:
        names = [each.runtime for each in places]
        yield Place(names, places[0].about, partial(rivals.start, places, paths))


def _start_here(
    base: Path,
    jobs: Sequence[Job],
    pair: Mapping[str, Any],
    on_line: Callable[[str], Any],
    timeout: float,
) -> tuple[int, str]:
    asked = {**pair, "rivals": [job.to_json() for job in jobs]}
    return loop.start_here(asked, base / f"{pair['run_id']}.jsonl", on_line, timeout)


def _header(path: Path, job: Job, place: Place) -> dict[str, Any]:
    note = registry.load("runtimes", job.runtime).NOTE
    return loop.header_of(path, job, note=note, target=place.about)


def _look(
    place: Place,
    journals: tuple[Journal, Journal],
    jobs: Sequence[Job],
    rounds: int,
    turn_s: float,
    look: int,
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
        "rounds": rounds,
        "turn_s": turn_s,
        "pairs": 1,
    }
    try:
        code, said = place.start(jobs, pair, sort_in, 600 + 20 * rounds * turn_s)
    except EdgekitError as error:  # a device's
        journals[0].fail(error.to_json())
        raise loop.kept(error, journals[0]) from None
    if last.get("event") == "error":
        raise loop.error_of(last)
    if code:
        raise BenchmarkError(f"The runner {loop.end_of(code)}{f': {said}' if said else ''}.")
