"""Two model files that take turns on a device: both are pushed, and one agent starts them there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit import formats
from edgekit.benchmarks import remote
from edgekit.benchmarks.job import Job
from edgekit.devices import Device
from edgekit.errors import UsageError
from edgekit.text import printable


@contextmanager
def benches(
    device: Device, paths: Sequence[Path], runtime: str | None, *, provision: bool
) -> Iterator[list[remote.Bench]]:
    """Connect to a device, lock it, and find the runtime of each file.

    Raises:
        UsageError: turns cannot be taken there.
        DeviceError: the device cannot be used.
        UnavailableError: a runtime is missing.
    """
    if device.runner is not None:
        raise UsageError(
            "The native runner starts no processes that take turns.",
            "Measure both files there, and compare the records.",
        )
    first, second = map(formats.of_path, paths)
    with remote.bench(device, first, runtime, provision=provision) as one:
        if one.about["emulated"]:
            raise UsageError(
                f"Device {printable(device.name)!r} is {printable(one.about['emulated'])}: "
                "its times say nothing of a device, not even which is less.",
                "Compare on a real device.",
            )
        if first == second:
            yield [one, one]
        else:
            both = remote.with_runtime(one, remote.runtimes_for(device, second, runtime))
            yield [one, both]


def start(
    places: Sequence[remote.Bench],
    paths: Sequence[Path],
    jobs: Sequence[Job],
    pair: Mapping[str, Any],
    on_line: Callable[[str], Any],
    timeout: float,
) -> tuple[int, str]:
    """Let a pair of processes take turns over there; return exit code and last words."""
    rivals = [
        remote.pushed(place, path, job).to_json()
        for place, path, job in zip(places, paths, jobs, strict=True)
    ]
    place = places[-1]  # whose environment has both runtimes
    asked = remote.push_job(place, {**pair, "rivals": rivals})
    command = [*place.agent, "run", asked]
    done = place.connection.run(command, timeout=timeout, on_line=on_line, env=place.env)
    return remote.how_it_ended(done)
