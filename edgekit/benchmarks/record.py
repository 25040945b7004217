"""Benchmark records: all that one run measured, and what is computed from it.

While a run goes on, its record is a journal: a file of JSON lines, a header and then the runner's
own lines, each on disk as soon as it arrived.  At the end it is sealed into one JSON file.  A
journal that was never sealed is read as well: what was acknowledged is not lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from edgekit.benchmarks import context, scenarios, statistics
from edgekit.errors import ArtifactError

SCHEMA_VERSION = 2
LATENCY = "latency"


@dataclass(frozen=True)
class BenchmarkRecord:
    """One benchmark.  Times are seconds, sizes bytes.

    Attributes:
        path: The model file.
        sha256: Its identity.
        runtime: Engine and version.
        note: What must be known of that runtime; None: nothing.
        threads: Threads that an inference could use.
        load_s: To open the file.
        first_s: Of the first inference.
        samples_s: Of each inference after warm-up, in order; of several where `chunks` say so.
        machine: Facts of the machine, by name.
        run_id: Identity of the run.
        started_at: When it started, in UTC.
        artifact: What the sidecar says of the file: format, recipe, size and program.
        target: Where it ran: name, transport, and whether times mean anything there.
        job: What was asked, as the runner got it.
        stages: Parts of the loading.
        warmup: How warming up went.
        chunks: The samples' stretches: start, count, inferences per sample, session.
        series: Other series of seconds: ``copy_in``, ``copy_out``, ``with_copies``, ``overhead``,
            ``cold_total`` and so on.
        states: Of the machine, in order of time.
        placement: Which node ran where; None: not asked for.
        profile: Seconds per node; None: not asked for.
        estimate: What a compiler expects, where nothing ran; None: this was measured.
        reported: A vendor's tool's own statistics, where it tells no samples; None: it does.
        outputs: Files with the outputs of the first inference.
        done: What the runner said at its end; None: it never came to it.
        error: What ended the run; None: nothing.
    """

    path: Path
    sha256: str
    runtime: str
    note: str | None
    threads: int
    load_s: float | None
    first_s: float | None
    samples_s: tuple[float, ...]
    machine: Mapping[str, Any]
    run_id: str = ""
    started_at: str = ""
    artifact: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    warmup: Mapping[str, Any] | None = None
    chunks: tuple[Mapping[str, Any], ...] = ()
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    states: tuple[Mapping[str, Any], ...] = ()
    placement: Mapping[str, Any] | None = None
    profile: Mapping[str, Any] | None = None
    estimate: Mapping[str, Any] | None = None
    reported: Mapping[str, Any] | None = None
    outputs: tuple[str, ...] = ()
    done: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None

    @property
    def median_s(self) -> float:
        """Median latency in seconds."""
        return self.percentile(50)

    def percentile(self, q: float) -> float:
        """Return the `q`-th percentile (0 to 100) of the latency, in seconds."""
        return float(np.percentile(self.samples_s, q))

    @property
    def emulator(self) -> str | None:
        """What emulates the device that this was measured on; None for a real one."""
        return self.target.get("emulated") or None

    @property
    def scenario(self) -> Mapping[str, Any]:
        """The scenario and its parameters."""
        found: Mapping[str, Any] = self.job.get("scenario", {"name": "single-stream"})
        return found

    @property
    def session_medians(self) -> tuple[float, ...]:
        """Median of each session; where there are none, of the whole."""
        parts: dict[Any, list[float]] = {}
        for chunk, seconds in self.stretches():
            parts.setdefault(chunk.get("session"), []).extend(seconds)
        return tuple(float(np.median(each)) for each in parts.values() if each)

    def stretches(self) -> Iterable[tuple[Mapping[str, Any], Sequence[float]]]:
        """Yield each chunk with its samples."""
        start = 0
        for chunk in self.chunks:
            yield chunk, self.samples_s[start : start + chunk["count"]]
            start += chunk["count"]

    @property
    def findings(self) -> list[context.Finding]:
        """Why its times may not be trusted: symptoms in the samples, then causes."""
        found = context.causes(self.states, self.machine.get("cores"))
        if len(self.samples_s) > 1 and self.scenario["name"] in ("single-stream", "multi-stream"):
            return context.symptoms(statistics.summary(self.samples_s), self.warmup) + found
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain data: everything measured, and what is computed from it."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"schema_version": SCHEMA_VERSION, **plain, "path": str(self.path), **self.judged()}

    def judged(self) -> dict[str, Any]:
        """Return what is computed: summary, scenario's outcome, validity, verdict, energy.

        Of an emulated device nothing is: its times say nothing of a device, not even which is less.
        """
        if self.emulator:
            return {"median_s": None, "verdict": {"status": "emulated", "findings": []}}
        if not self.samples_s:
            told = self.reported or {}
            status = "reported" if told else "not_run"
            return {
                "median_s": told.get("median_s"),
                "verdict": {"status": status, "findings": []},
            }
        findings = self.findings
        unstable = any(each.symptom for each in findings)
        inferences = sum(chunk["count"] * chunk.get("batch", 1) for chunk in self.chunks)
        return {
            "median_s": self.median_s,
            "summary": statistics.summary(self.samples_s),
            "outcome": scenarios.outcome(self.scenario, self.chunks, self.samples_s),
            "validity": self._validity(),
            "verdict": {
                "status": "unstable" if unstable else "stable",
                "findings": [each.to_json() for each in findings],
            },
            "energy": context.energy(self.states, inferences),
        }

    def _validity(self) -> dict[str, bool]:
        """Return flags, by name, of what was asked and came about."""
        spans = sum(float(np.sum(s)) * chunk.get("batch", 1) for chunk, s in self.stretches())
        return {
            "complete": self.done is not None and self.error is None,
            "warm_up_steady": bool(self.warmup and self.warmup["steady"]),
            "min_samples_met": len(self.samples_s) >= self.job.get("runs", 0),
            "min_duration_met": spans >= 0.9 * self.job.get("min_s", 0.0),
        }


def build(header: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> BenchmarkRecord:
    """Return the record that a header and a runner's lines make, complete or not."""
    told: dict[str, Mapping[str, Any]] = {}
    samples: list[float] = []
    chunks: list[Mapping[str, Any]] = []
    states: list[Mapping[str, Any]] = []
    series: dict[str, list[float]] = {}
    for line in lines:
        event = line.get("event", "")
        if "cold" in line:  # of a process of its own, started for this alone
            if event in ("load", "first"):
                series.setdefault(f"cold_{event}", []).append(line["seconds"])
        elif event == "samples":
            _sort_in(line, samples, chunks, series)
        elif event == "state":
            states.append(_without(line))
        else:
            told[event] = _without(line)
    load = told.get("load", {})
    return BenchmarkRecord(
        path=Path(header["path"]),
        sha256=header["sha256"],
        runtime=load.get("engine", header["job"]["runtime"]),
        note=header.get("note"),
        threads=header["job"]["threads"],
        load_s=load.get("seconds"),
        first_s=told.get("first", {}).get("seconds"),
        samples_s=tuple(samples),
        machine=told.get("facts", {}),
        run_id=header.get("run_id", ""),
        started_at=header.get("started_at", ""),
        artifact=header.get("artifact", {}),
        target=header.get("target", {}),
        job=header["job"],
        stages=load.get("stages", {}),
        warmup=told.get("warmup"),
        chunks=tuple(chunks),
        series=series,
        states=tuple(states),
        placement=told.get("placement"),
        profile=told.get("profile"),
        reported=told.get("reported"),
        outputs=tuple(told.get("outputs", {}).get("files", ())),
        done=told.get("done"),
        error=told.get("error") or header.get("error"),
    )


def _sort_in(
    line: Mapping[str, Any],
    samples: list[float],
    chunks: list[Mapping[str, Any]],
    series: dict[str, list[float]],
) -> None:
    """Add a line of samples to where its series belongs; a throughput's are latencies, too."""
    seconds = line["seconds"]
    if line.get("series") in (LATENCY, "throughput"):
        samples.extend(seconds)
        chunks.append({"count": len(seconds), **_without(line, "seconds", "series")})
    else:
        series.setdefault(line["series"], []).extend(seconds)


def _without(line: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in line.items() if k not in ("event", "run_id", *keys)}


class Journal:
    """A record while it is being written: a file that is never behind what arrived."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.header = header
        self.lines: list[dict[str, Any]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("w")
        self._write({"event": "header", "schema_version": SCHEMA_VERSION, **header})

    def add(self, text: str) -> dict[str, Any] | None:
        """Keep one line of a runner's output; return it, or None when it is talk."""
        try:
            line = json.loads(text)
        except ValueError:
            return None
        if not isinstance(line, dict) or "event" not in line:
            return None
        self._write(line)
        self.lines.append(line)
        return line

    def fail(self, error: Mapping[str, Any]) -> None:
        """Note what ended the run, where the runner itself could not."""
        self.add(json.dumps({"event": "error", **error}))

    def record(self) -> BenchmarkRecord:
        """Return the record of what has arrived."""
        return build(self.header, self.lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; it stays when the run failed and something had been measured."""
        self.close()
        if error is None or not self.measured:
            self.path.unlink()

    def close(self) -> None:
        """Close the file, which stays."""
        self._file.close()

    @property
    def measured(self) -> bool:
        """Whether any samples have arrived."""
        return any(line["event"] == "samples" for line in self.lines)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, default=str) + "\n")
        self._file.flush()


def seal(record: BenchmarkRecord, path: Path) -> None:
    """Write a record as one JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_text(json.dumps(record.to_json(), default=str) + "\n")
    draft.replace(path)


def read_record(path: Path) -> BenchmarkRecord:
    """Read a sealed record, or a journal.

    Raises:
        ArtifactError: the file is missing, or holds no record that this edgekit reads.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read as a record: {error}.") from None
    hint = "Records are written by edgekit benchmark --output, or --json."
    try:
        if path.suffix == ".jsonl":
            return _from_journal(text)
        data = json.loads(text)
        if isinstance(data, list) and len(data) == 1:
            (data,) = data
        if data["schema_version"] != SCHEMA_VERSION:
            raise ArtifactError(
                f"{path} has schema version {data['schema_version']}; "
                f"this edgekit reads {SCHEMA_VERSION}.",
                "Measure again.",
            )
        names = {each.name for each in fields(BenchmarkRecord)}
        plain = {key: value for key, value in data.items() if key in names}
        tuples = {key: tuple(plain[key]) for key in ("samples_s", "chunks", "states", "outputs")}
        return BenchmarkRecord(**{**plain, **tuples, "path": Path(plain["path"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} holds no benchmark record: {error!r}.", hint) from error


def _from_journal(text: str) -> BenchmarkRecord:
    """Read what of a journal is whole; its last line may be torn."""
    lines = []
    for number, line in enumerate(text.splitlines()):
        try:
            lines.append(json.loads(line))
        except ValueError:
            if number < text.count("\n"):
                raise
    header, *rest = lines
    return build(header, rest)
