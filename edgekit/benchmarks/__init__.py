"""Benchmarks: run a model file many times and keep every sample.

This version measures on the local machine with a plain loop.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import formats, runtimes
from edgekit.errors import UsageError
from edgekit.hashing import sha256_of
from edgekit.runtimes import Arrays
from edgekit.tensors import Dim, Signature

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class BenchmarkRecord:
    """One benchmark: all samples, and what is needed to compare them later.

    Attributes:
        path: The model file.
        sha256: Its identity.
        runtime: Runtime and version.
        note: What must be known of that runtime.
        threads: Threads that an inference could use.
        load_s: Seconds to open the file.
        first_s: Seconds of the first inference.
        samples_s: Seconds of each timed inference after warm-up, in order.
        machine: Processor, cores, operating system and load, by name.
    """

    path: Path
    sha256: str
    runtime: str
    note: str | None
    threads: int
    load_s: float
    first_s: float
    samples_s: tuple[float, ...]
    machine: dict[str, str]

    @property
    def median_s(self) -> float:
        """Median latency in seconds."""
        return self.percentile(50)

    def percentile(self, q: float) -> float:
        """Return the `q`-th percentile (0 to 100) of the latency, in seconds."""
        return float(np.percentile(self.samples_s, q))

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "schema_version": SCHEMA_VERSION,
            **vars(self),
            "path": str(self.path),
            "median_s": self.median_s,
        }


def benchmark_file(
    path: Path,
    *,
    target: str = "local",
    runs: int = 50,
    runtime: str | None = None,
    threads: int = 1,
    warmup_seconds: float = 0.5,
) -> BenchmarkRecord:
    """Measure a model file; `edgekit.benchmark` describes the arguments.

    Raises:
        UsageError: the target is not ``local``, or there is nothing to run.
    """
    if target != "local":
        raise UsageError(
            f"There is no target named {target!r}.", "This version measures on 'local' only."
        )
    if runs < 1:
        raise UsageError(f"{runs} runs measure nothing.", "Give --runs 1 or more.")
    identity = sha256_of(path)
    started = time.perf_counter()
    with runtimes.open_session(
        path, formats.of_path(path), runtime=runtime, threads=threads
    ) as session:
        load_s = time.perf_counter() - started
        feeds = random_feeds(session.signature)
        first_s = _timed(session, feeds)
        warm = time.perf_counter() + warmup_seconds
        while time.perf_counter() < warm:
            session.run(feeds)
        samples = tuple(_timed(session, feeds) for _ in range(runs))
        described = runtimes.describe(session.runtime)
        return BenchmarkRecord(
            path, identity, described, session.note, threads, load_s, first_s, samples, machine()
        )


def random_feeds(signature: Signature) -> Arrays:
    """Return seeded inputs of the right types and shapes; dynamic dimensions are at their least."""
    generator = np.random.default_rng(0)
    feeds = {}
    for spec in signature.inputs:
        shape = tuple(dim.min if isinstance(dim, Dim) else dim for dim in spec.shape)
        dtype = spec.dtype.numpy()
        if spec.dtype.is_float:
            feeds[spec.name] = generator.standard_normal(shape).astype(dtype)
        else:  # zeros and ones are valid token ids, masks and flags
            feeds[spec.name] = generator.integers(0, 2, shape).astype(dtype)
    return feeds


def machine() -> dict[str, str]:
    """Return what is known of this machine."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "load_1min": "unknown" if load is None else f"{load:.2f}",
    }


def _timed(session: runtimes.Session, feeds: Arrays) -> float:
    started = time.perf_counter()
    session.run(feeds)
    return time.perf_counter() - started
