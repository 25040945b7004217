"""Benchmarks: run a model file, keep every sample, and say whether the times can be trusted.

`edgekit.benchmarks.job` is what is asked of a runner, `edgekit.benchmarks.record` what becomes of
its answer, `edgekit.benchmarks.comparison` what two records say of each other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit import formats, registry, runtimes
from edgekit.benchmarks import loop, scenarios
from edgekit.benchmarks.job import Job, Warmup, job_for
from edgekit.benchmarks.layers import with_layers
from edgekit.benchmarks.record import BenchmarkRecord, Journal, seal
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.target import Target

__all__ = ["BenchmarkRecord", "Request", "benchmark_file"]

HERE = {"name": "local", "transport": None, "emulated": False}


@dataclass(frozen=True)
class Request:
    """What to measure, before it is known where.

    Attributes:
        runs: Samples to take, at least.
        runtime: Name of the runtime; None for the best one.
        threads: How many threads an inference may use; None for the target's default, or one.
        min_seconds: How long to take samples, at least.
        warmup_seconds: How long to wait for the steady state, at most; 0: no warm-up.
        scenario: As `edgekit.benchmarks.scenarios` reads it.
        sustained: Seconds to go on for; None: not sustained.
        cold: How many cold starts to measure as well, each in a new process.
        profile: How many inferences to profile, node by node.
        delegate: TFLite: ``none``, or a delegate's library.
        providers: ONNX Runtime: execution providers, in order of preference.
        input_data: ``.npz`` file with values for the inputs; None for seeded ones.
        settings: Other fields of `edgekit.benchmarks.job.Job`.
    """

    runs: int = 50
    runtime: str | None = None
    threads: int | None = None
    min_seconds: float = 0.0
    warmup_seconds: float = 3.0
    scenario: str = "single-stream"
    sustained: float | None = None
    cold: int | None = None
    profile: int = 0
    delegate: str | None = None
    providers: Sequence[str] = ()
    input_data: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def timeout(self) -> float:
        """Return seconds after which a run must have ended: far more than it should take."""
        asked = self.min_seconds + self.warmup_seconds + (self.sustained or 0.0)
        return 600 + 10 * asked + 60 * (self.cold or 0)


def benchmark_file(
    path: Path,
    request: Request | None = None,
    *,
    target: str = "local",
    device: str | None = None,
    provision: bool = False,
    resume: bool = False,
    tool: str | None = None,
    output: Path | None = None,
) -> BenchmarkRecord:
    """Measure a model file; `edgekit.benchmark` describes the arguments.

    Raises:
        UsageError: there is no such target or device, or there is nothing to run.
        EdgekitError: the run came to no good end.
    """
    asked = request or Request()
    if tool is not None:
        if provision or resume:
            raise UsageError("A vendor's tool is neither provisioned nor resumed.")
        return _with_tool(path, asked, tool, target, device, output)
    if target != "local" or device is not None:
        return _on_device(path, asked, target, device, provision, resume, output)
    runtime = runtimes.choose(formats.of_path(path), asked.runtime)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        job = job_of(path, asked, runtime, inputs_in(asked.input_data, Path(folder)))
        note = registry.load("runtimes", runtime).NOTE
        header = loop.header_of(path, job, note=note, target=HERE)
        with Journal(loop.journal_path(job.run_id, output), header) as journal:
            record = with_layers(loop.run_here(job, journal, asked.timeout()), path)
            if output is not None:
                seal(record, output)
            return record


def _on_device(
    path: Path,
    asked: Request,
    target: str,
    device: str | None,
    provision: bool,
    resume: bool,
    output: Path | None,
) -> BenchmarkRecord:
    """Measure on a device, with the defaults of its target."""
    from edgekit.benchmarks import remote
    from edgekit.devices import find_device
    from edgekit.target import load_target

    kind = load_target(target) if target != "local" else None
    if kind is not None and kind.compiler is not None and device is None:
        from edgekit.compilers import estimate

        return estimate(path, formats.of_path(path), kind, output=output)
    place = find_device(device, kind.name if kind else None)
    if place.target is not None:
        asked = with_defaults(asked, load_target(place.target), formats.of_path(path))
    found = remote.bench(place, formats.of_path(path), asked.runtime, provision=provision)
    with found as bench, tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        job = job_of(path, asked, bench.runtime, inputs_in(asked.input_data, Path(folder)))
        return remote.measure(
            bench, path, job, timeout=asked.timeout(), output=output, resume=resume
        )


def _with_tool(
    path: Path, asked: Request, tool: str, target: str, device: str | None, output: Path | None
) -> BenchmarkRecord:
    """Measure with a vendor's tool, here or on a device."""
    from edgekit.benchmarks import vendor
    from edgekit.devices import find_device
    from edgekit.target import load_target

    kind = None if target == "local" else load_target(target).name
    place = find_device(device if device or kind else "local", kind)
    if place.target is not None:
        asked = with_defaults(asked, load_target(place.target), formats.of_path(path))
    job = job_of(path, asked, f"tool {tool.partition('=')[0]}")
    return vendor.measure(path, job, tool, place, timeout=asked.timeout(), output=output)


def with_defaults(asked: Request, target: Target, format_name: str) -> Request:
    """Return the request, with a target's defaults for the format where it says nothing."""
    given = target.defaults
    if given.format != format_name:
        return replace(asked, threads=asked.threads or given.threads)
    settings = {
        "delegate_options": dict(given.delegate_options),
        "provider_options": tuple(
            dict(given.provider_options.get(name, {})) for name in given.providers
        ),
    }
    return replace(
        asked,
        threads=asked.threads or given.threads,
        delegate=asked.delegate or given.delegate,
        providers=asked.providers or given.providers,
        settings={
            **({} if asked.delegate or asked.providers else settings),
            **asked.settings,
        },
    )


def inputs_in(archive: Path | None, folder: Path) -> dict[str, str]:
    """Write the arrays of an ``.npz`` file into a folder; return their files by name.

    Raises:
        UsageError: it is no such file.
    """
    if archive is None:
        return {}
    found = {}
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            for number, name in enumerate(arrays.files):
                file = folder / f"input{number}.npy"
                np.save(file, arrays[name], allow_pickle=False)
                found[name] = str(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{archive} is no .npz file: {error}.") from None
    return found


def job_of(
    path: Path, request: Request, runtime: str, data: Mapping[str, str] | None = None
) -> Job:
    """Return the job that a request makes of a model file; `data` are files of inputs, by name.

    Raises:
        UsageError: it asks for what cannot be.
    """
    if request.runs < 1:
        raise UsageError(f"{request.runs} runs measure nothing.", "Give --runs 1 or more.")
    job = job_for(
        path,
        formats.of_path(path),
        runtime,
        data=data,
        threads=request.threads or 1,
        runs=request.runs,
        min_s=request.min_seconds,
        warmup=Warmup(max_s=request.warmup_seconds),
        scenario=scenarios.parse(request.scenario),
        sustained_s=request.sustained,
        cold=request.cold,
        profile=request.profile,
        delegate=request.delegate,
        providers=tuple(request.providers),
        run_id=loop.new_run_id(),
    )
    return replace(job, **request.settings)
