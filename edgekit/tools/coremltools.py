"""coremltools' own benchmarker, on a Mac: every latency, as Core ML measures it.

It has never run on a Mac here.  What it answers was read in coremltools 9.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
from pathlib import Path
from typing import Any

from edgekit.benchmarks.job import Job
from edgekit.errors import UnavailableError
from edgekit.tools import _coreml

TITLE = "Core ML (coremltools MLModelBenchmarker)"
FORMATS = ("coreml",)
PROGRAM = sys.executable
HERE = True
WHERE = "pip install coremltools"
TRIED = "coremltools' benchmarker was never run by edgekit's authors: they have no Mac."
TAKES = frozenset({"profile"})


def unavailable() -> UnavailableError | None:
    """Return why Core ML cannot be asked."""
    if platform.system() != "Darwin":
        return UnavailableError("Core ML runs on macOS, and this is none.", "Use a Mac.")
    if importlib.util.find_spec("coremltools") is None:
        return UnavailableError("coremltools is not installed.", WHERE)
    return None


def command(program: str, job: Job, result: str) -> list[str]:  # noqa: ARG001 - it has none
    """Return the command: a process of our own, in which coremltools works."""
    asked = {"model": job.model, "runs": job.runs, "profile": job.profile}
    return [program, "-P", str(Path(_coreml.__file__)), json.dumps(asked)]


def lines(said: str, result: str, job: Job) -> list[dict[str, Any]]:  # noqa: ARG001
    """Return its lines, which are those of a runner already."""
    found = [json.loads(line) for line in said.splitlines() if line.startswith('{"event"')]
    for line in found:
        if line["event"] == "load":
            line["engine"] = TITLE
    return found
