"""The host's side of a run: start a runner, keep what it says, make a record of it.

The loop that measures is the runner's own (`edgekit/device_agent.py`), here as on a device.
"""

from __future__ import annotations

import json
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit import __version__, cache, device_agent, worker
from edgekit.artifact import open_artifact, sidecar_of
from edgekit.benchmarks.job import Job
from edgekit.benchmarks.record import BenchmarkRecord, Journal
from edgekit.errors import ArtifactError, BenchmarkError, EdgekitError, UnavailableError
from edgekit.hashing import sha256_of, size_of

_KINDS: dict[str, type[EdgekitError]] = {  # of errors, by the runner's reason; others are our own
    "runtime_missing": UnavailableError,
    "provider_missing": UnavailableError,
    "delegate_missing": UnavailableError,
    "model_missing": ArtifactError,
    "load_failed": ArtifactError,
}


def new_run_id() -> str:
    """Return an identity that sorts by time: ``20261121T204302Z-1a2b3c4d``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def header_of(
    path: Path, job: Job, *, note: str | None, target: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a record says before anything has run."""
    about: dict[str, Any] = {"format": job.format, "size_bytes": size_of(path)}
    if sidecar_of(path).is_file():
        made = open_artifact(path)
        about |= {
            "recipe": made.recipe,
            "program_sha256": made.program_sha256,
            "toolchain": made.toolchain,
            "verified": made.verification.status if made.verification else None,
        }
    return {
        "path": str(path),
        "sha256": sha256_of(path),
        "note": note,
        "run_id": job.run_id,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "edgekit": __version__,
        "artifact": about,
        "target": dict(target),
        # Without the paths of this machine, which are nobody else's business.
        "job": job.to_json() | {"model": path.name},
    }


def journal_path(run_id: str, output: Path | None) -> Path:
    """Return where the journal of a run is written: beside its record, or in the cache."""
    if output is not None:
        return output.with_name(output.name.removesuffix(".json") + ".jsonl")
    return cache.folder() / "records" / f"{run_id}.jsonl"


def run_here(job: Job, journal: Journal, timeout: float) -> BenchmarkRecord:
    """Measure on this machine, in a process of its own.

    Raises:
        EdgekitError: the run came to no good end; its journal keeps what had arrived.
    """
    return conclude(journal, *start_here(job.to_json(), journal.path, journal.add, timeout))


def start_here(
    job: Mapping[str, Any], path: Path, on_line: Callable[[str], Any], timeout: float
) -> tuple[int, str]:
    """Run the agent on this machine; return its exit code, and its last words."""
    asked, log = path.with_suffix(".job"), path.with_suffix(".log")
    asked.write_text(json.dumps(job))
    command = [sys.executable, device_agent.__file__, "run", str(asked)]
    try:
        code = worker.follow_tool(command, log, on_line=on_line, timeout=timeout)
        return code, worker.last_words(log)
    finally:
        asked.unlink(missing_ok=True)
        log.unlink(missing_ok=True)


def conclude(journal: Journal, code: int, said: str) -> BenchmarkRecord:
    """Return the record of a run that ended, or raise what ended it.

    Args:
        journal: What arrived.
        code: The runner's exit code.
        said: Its last words on standard error.
    """
    last = journal.lines[-1] if journal.lines else {}
    if last.get("event") == "done":
        return journal.record()
    if last.get("event") == "error":
        raise kept(error_of(last), journal)
    error = BenchmarkError(f"The runner {end_of(code)}{f': {said}' if said else ''}.")
    journal.fail(error.to_json() | {"reason": "runner_died"})
    raise kept(error, journal)


def kept(error: EdgekitError, journal: Journal) -> EdgekitError:
    """Return the error; where samples had arrived, its hint says where they are."""
    if journal.measured:
        more = f"What had arrived is kept in {journal.path}."
        error.hint = f"{error.hint} {more}" if error.hint else more
    return error


def error_of(line: Mapping[str, Any]) -> EdgekitError:
    """Return the error that a runner's line means."""
    return _KINDS.get(line["reason"], BenchmarkError)(line["message"], line.get("hint"))


def end_of(code: int) -> str:
    """Say how a process ended that should not have."""
    if code == -signal.SIGKILL:
        return "was killed: for want of memory, or after its time"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return f"ended with code {code} before it was done"
