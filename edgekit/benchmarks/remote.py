"""A run on a device: connect, lock, push, run the agent there, and keep each line as it comes."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import device_agent, probing, registry, transports
from edgekit.benchmarks import loop
from edgekit.benchmarks.job import Job
from edgekit.benchmarks.layers import with_layers
from edgekit.benchmarks.record import BenchmarkRecord, Journal, seal
from edgekit.devices import Device
from edgekit.errors import ArtifactError, DeviceError, EdgekitError, UnavailableError
from edgekit.hashing import sha256_of
from edgekit.target import load_target
from edgekit.text import printable
from edgekit.transports import Connection

_RUNTIMES = {"tflite": ("litert", "tflite_runtime", "tensorflow"), "onnx": ("onnxruntime",)}
_PACKAGES = {
    "litert": "ai-edge-litert",
    "tflite_runtime": "tflite-runtime",
    "tensorflow": "tensorflow",
    "onnxruntime": "onnxruntime",
}
_LIBRARIES = {"litert": "libLiteRt.so", "onnxruntime": "libonnxruntime.so"}  # of the native runner
_OUTPUTS = "outputs"
NATIVE = "edgekit_runner"  # the program's name, in the folder that a device's `runner` names
_QUIET = {"ORT_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Bench:
    """A device that is ready to measure.

    Attributes:
        device: Which one.
        connection: To it, and locked for us.
        agent: Command that runs the agent there.
        env: Variables that it runs with.
        runtime: Runtime that it will use.
        about: What a record says of the device.
    """

    device: Device
    connection: Connection
    agent: tuple[str, ...]
    env: Mapping[str, str]
    runtime: str
    about: Mapping[str, Any]


@contextmanager
def bench(
    device: Device, format_name: str, runtime: str | None, *, provision: bool = False
) -> Iterator[Bench]:
    """Connect to a device, lock it, and find the runtime to use.

    Args:
        device: Where to measure.
        format_name: Format of the models.
        runtime: Name of the runtime; None: the target's default if it fits, else the best one
            that is installed there.
        provision: Bring the runtime along, in a private environment of the device's Python.

    Raises:
        DeviceError: the device cannot be used.
        UnavailableError: it has no Python, or no such runtime.
    """
    wanted = runtimes_for(device, format_name, runtime)
    with transports.connect(device) as connection:
        connection.lock(f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}")
        facts = probing.facts(connection, device.python)
        command, env = _runner(connection, device, facts)
        about = {
            "name": device.target,
            "device": device.name,
            "transport": device.transport,
            "emulated": probing.emulator(device, facts) or False,
            "provisioned": provision,
            "facts": facts,
        }
        yield with_runtime(Bench(device, connection, command, env, "", about), wanted)


def with_runtime(place: Bench, wanted: tuple[str, ...]) -> Bench:
    """Return the bench with the first of those runtimes that is there, or brought along.

    Raises:
        UnavailableError: none is.
    """
    if place.about["provisioned"] and place.device.runner is None:
        from edgekit.provisioning import environment

        found = environment(place.connection, place.device, _PACKAGES[wanted[0]])
        folders = [place.env.get("PYTHONPATH", ""), found["PYTHONPATH"]]
        env = {**place.env, "PYTHONPATH": ":".join(filter(None, folders))}
        return replace(place, env=env, runtime=wanted[0])
    there = _installed(place.connection, place.agent, place.env, place.device, wanted)
    return replace(place, runtime=there)


def _runner(
    connection: Connection, device: Device, facts: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Push what measures there, the agent or the native runner; return command and variables."""
    if device.runner is not None:
        folder = Path(device.runner).expanduser()
        if not (folder / NATIVE).is_file():
            raise UnavailableError(
                f"{folder} holds no {NATIVE}.",
                f"Build it for the device: scripts/build_runner.sh {folder / NATIVE}",
            )
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        pushed = {path.name: connection.push(path, path.name) for path in files}
        connection.run(["chmod", "700", str(pushed[NATIVE])], timeout=60)
        return (str(pushed[NATIVE]),), dict(_QUIET)
    if not facts.get("python", "").startswith("Python 3"):
        raise UnavailableError(
            f"Device {printable(device.name)!r} has no {device.python}, which the agent needs.",
            "Name its Python 3.9 or newer with `python` in its table in edgekit.toml, or a folder "
            "with the native runner with `runner`.",
        )
    agent = connection.push(Path(device_agent.__file__), "device_agent.py")
    return (device.python, str(agent)), dict(_QUIET)


def runtimes_for(device: Device, format_name: str, runtime: str | None) -> tuple[str, ...]:
    """Return the runtimes that may be used, the best first."""
    known = _RUNTIMES.get(format_name)
    if known is None:
        raise UnavailableError(
            f"edgekit's agent runs no {format_name} on a device.",
            f"It runs {' and '.join(_RUNTIMES)}.",
        )
    if runtime is not None:
        return (registry.match(runtime, known, f"runtime for {format_name} on a device"),)
    default = load_target(device.target).defaults.runtime if device.target else None
    return tuple(sorted(known, key=lambda name: name != default))


def _installed(
    connection: Connection,
    command: tuple[str, ...],
    env: Mapping[str, str],
    device: Device,
    wanted: tuple[str, ...],
) -> str:
    """Return the first of the runtimes that the device has."""
    done = connection.run([*command, "facts"], timeout=120, env=env)
    try:
        there = json.loads(done.stdout)["runtimes"]
        for name in wanted:
            if there.get(name, {}).get("installed"):
                return name
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnavailableError(
            f"The agent cannot run on device {printable(device.name)!r}: "
            f"{printable(_last_words(done.stderr or done.stdout))}.",
            "It needs Python 3.9 or newer.",
        ) from None
    names = " or ".join(_PACKAGES[name] for name in wanted)
    hint = (
        f"Install it there: {device.python} -m pip install {_PACKAGES[wanted[0]]}; "
        "or let edgekit bring it along: --provision"
    )
    if device.runner is not None:
        libraries = " or ".join(_LIBRARIES[name] for name in wanted if name in _LIBRARIES)
        hint = f"Put {libraries} for the device into {device.runner}, beside the runner."
    raise UnavailableError(f"Device {printable(device.name)!r} has no {names}.", hint)


def measure(
    place: Bench,
    path: Path,
    job: Job,
    *,
    timeout: float,
    output: Path | None = None,
    resume: bool = False,
) -> BenchmarkRecord:
    """Measure one model file on a device.

    Args:
        place: Where.
        path: The model file.
        job: What is asked; its files lie here and are pushed, its outputs are fetched.
        timeout: Seconds after which the run must have ended.
        output: File of the record; its journal lies beside it.
        resume: Go on with the journal of a run that was cut off, for the samples that it lacks.

    Raises:
        EdgekitError: the run came to no good end; what had arrived is kept in the journal.
    """
    journal_path = loop.journal_path(job.run_id, output)
    kept = _kept(journal_path, path, job) if resume else []
    taken = sum(len(line["seconds"]) for line in kept)
    if taken:
        job = replace(job, runs=max(1, job.runs - taken))
    note = registry.load("runtimes", place.runtime).NOTE
    header = loop.header_of(path, job, note=note, target=place.about)
    with Journal(journal_path, header) as journal:
        for line in kept:
            journal.add(json.dumps({**line, "session": line.get("session", 0)}))
        session = max((line.get("session", 0) for line in kept), default=-1) + 1

        def on_line(text: str) -> None:
            journal.add(_in_session(text, session) if kept else text)

        try:
            there = push_job(place, pushed(place, path, job).to_json())
            done = place.connection.run(
                [*place.agent, "run", there], timeout=timeout, on_line=on_line, env=place.env
            )
        except EdgekitError as error:
            journal.fail(error.to_json())
            raise loop.kept(error, journal) from None
        record = with_layers(loop.conclude(journal, *how_it_ended(done)), path)
        if job.outputs_folder is not None:
            _pull_outputs(place.connection, record, Path(job.outputs_folder))
        if output is not None:
            seal(record, output)
        return record


def how_it_ended(done: transports.Finished) -> tuple[int, str]:
    """Return a runner's exit code, negative for a signal, and its last words."""
    code = 128 - done.returncode if done.returncode > 128 else done.returncode
    return code, printable(_last_words(done.stderr))


def push_job(place: Bench, asked: Mapping[str, Any]) -> str:
    """Push a job whose files are there; return its path on the device."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        file = Path(folder, "job.json")
        file.write_text(json.dumps(asked, indent=1) + "\n")
        return str(place.connection.push(file, file.name))


def pushed(place: Bench, path: Path, job: Job) -> Job:
    """Push the model and the inputs; return the job that names them as they are on the device.

    Files get names of ours over there: their own may be anything.
    """
    push = place.connection.push
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder, and no runner on a device takes one.")
    model = push(path, f"model-{sha256_of(path)[:16]}.{job.format}")
    inputs = [
        {**each, "file": push(Path(each["file"]), f"input-{number}.npy").name}
        if "file" in each
        else each
        for number, each in enumerate(job.inputs)
    ]
    return replace(
        job,
        model=model.name,
        inputs=tuple(inputs),
        outputs_folder=_OUTPUTS if job.outputs_folder is not None else None,
    )


def _pull_outputs(connection: Connection, record: BenchmarkRecord, folder: Path) -> None:
    """Fetch the outputs of the first inference; a device says their names, but does not choose."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in record.outputs:
        if re.fullmatch(r"out\d{1,4}\.(npy|raw)", str(name)) is None:
            raise DeviceError(f"The device names an output {printable(str(name))!r}.")
        connection.pull(f"{_OUTPUTS}/{name}", folder / name)


def _kept(journal: Path, path: Path, job: Job) -> list[dict[str, Any]]:
    """Return the lines of samples of a journal that measured the same file in the same way."""
    try:
        header, *lines = [json.loads(each) for each in journal.read_text().splitlines()[:-1]]
    except (OSError, ValueError):
        return []
    varying = {"run_id": "", "runs": 0, "model": ""}
    same = {**header.get("job", {}), **varying} == json.loads(json.dumps(job.to_json() | varying))
    if not same or header.get("sha256") != sha256_of(path):
        return []
    return [
        line
        for line in lines
        if line.get("event") == "samples" and line.get("series") in ("latency", "throughput")
    ]


def _in_session(text: str, session: int) -> str:
    """Return a line of the runner, its samples marked as those of a later session."""
    try:
        line = json.loads(text)
    except ValueError:
        return text
    if isinstance(line, dict) and line.get("event") == "samples":
        line["session"] = session
        return json.dumps(line)
    return text


def _last_words(said: str) -> str:
    return next((line.strip()[:300] for line in reversed(said.splitlines()) if line.strip()), "")
