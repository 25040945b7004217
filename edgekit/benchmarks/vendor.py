"""A run of a vendor's own benchmark program: drive it, and make a record of what it says."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit import device_agent, formats, probing, registry, transports
from edgekit.benchmarks import loop
from edgekit.benchmarks.job import Job
from edgekit.benchmarks.record import BenchmarkRecord, Journal, seal
from edgekit.devices import Device
from edgekit.errors import ArtifactError, BenchmarkError, EdgekitError, UnavailableError, UsageError
from edgekit.hashing import sha256_of
from edgekit.text import printable
from edgekit.transports import Connection

# Fields of a job that no tool is asked to honour, since they say what is run, not how; ...
_ANY = {"model", "format", "runtime", "inputs", "outputs", "run_id", "runs", "min_s", "warmup"}
# ... and how the others are called where a user gives them.
_OPTIONS = {
    "threads": "--threads",
    "scenario": "--scenario",
    "sustained_s": "--sustained",
    "cold": "--cold",
    "profile": "--profile",
    "delegate": "--delegate",
    "providers": "--provider",
}
_ANDROID = "/data/local/tmp"  # where the tools' own pages put them
_RESULT = "result"


def measure(
    path: Path, job: Job, tool: str, place: Device, *, timeout: float, output: Path | None = None
) -> BenchmarkRecord:
    """Measure a model file with a vendor's tool.

    Args:
        path: The model file.
        job: What is asked.
        tool: Its name, or ``NAME=PROGRAM`` with the program's path, here or on the device.
        place: Where it runs; this machine is the device ``local``.
        timeout: Seconds after which it must have ended.
        output: File of the record; its journal lies beside it.

    Raises:
        UsageError: there is no such tool, or it cannot do what is asked.
        UnavailableError: the program is not there.
        EdgekitError: it came to no good end.
    """
    name, _, chosen = tool.partition("=")
    module = registry.load("tools", name)
    _check(module, path, job, place)
    with transports.connect(place) as connection:
        connection.lock(f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}")
        facts = probing.facts(connection, place.python)
        program = _program(module, chosen, place, connection)
        there = replace(job, model=_model(path, job, place, connection))
        result = str(connection.workspace / _RESULT)
        command = _command(module, program, there, result, chosen)
        header = loop.header_of(path, job, note=_note(module), target=_about(place, facts))
        plain = {there.model: path.name, result: _RESULT}  # whose folders are nobody's business
        header["job"] |= {"tool": _name(module), "command": _replaced(command[1:], plain)}
        with Journal(loop.journal_path(job.run_id, output), header) as journal:
            _say(journal, {"event": "facts", **_machine(place, facts)})
            probe = device_agent.Probe() if place.transport == "local" else None
            _state(journal, probe, "before")
            try:
                done = connection.run(command, timeout=timeout, env={"ORT_DISABLE_TELEMETRY": "1"})
                text = _result(connection, result, Path(f"{journal.path}.result"))
            except EdgekitError as error:
                journal.fail(error.to_json())
                raise
            _state(journal, probe, "after")
            _take(journal, module, done, text, there)
            record = journal.record()
            if output is not None:
                seal(record, output)
            return record


def _check(module: ModuleType, path: Path, job: Job, place: Device) -> None:
    """Refuse what the tool cannot do."""
    name = _name(module)
    if formats.of_path(path) not in module.FORMATS:
        raise UsageError(f"{name} takes {', '.join(module.FORMATS)}, and {path} is none.")
    if getattr(module, "HERE", False) and place.transport != "local":
        raise UsageError(f"{name} is started on this machine.", "Leave --device out.")
    usual = Job("", "", "")
    refused = [
        _OPTIONS.get(each.name, each.name)
        for each in fields(Job)
        if each.name not in _ANY | module.TAKES
        and getattr(job, each.name) != getattr(usual, each.name)
    ]
    if any("file" in entry for entry in job.inputs):
        refused.append("--input-data")
    if refused:
        raise UsageError(
            f"{name} cannot be told {', '.join(refused)}.",
            "Leave that out, or leave --tool out: edgekit's own runner takes it.",
        )
    reason: UnavailableError | None = getattr(module, "unavailable", lambda: None)()
    if reason is not None:
        raise reason


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _replaced(words: list[str], plain: Mapping[str, str]) -> list[str]:
    for old, new in plain.items():
        words = [word.replace(old, new) for word in words]
    return words


def _note(module: ModuleType) -> str:
    """Return what must be known of a tool's figures."""
    ours = f"Measured by {module.TITLE} on its own inputs, not by edgekit's loop"
    return f"{ours}. {module.TRIED}" if module.TRIED else f"{ours}."


def _about(place: Device, facts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": place.target or place.name,
        "device": place.name,
        "transport": place.transport,
        "emulated": probing.emulator(place, dict(facts)) or False,
        "facts": dict(facts),
    }


def _machine(place: Device, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return a machine's facts by the names that a runner gives them."""
    if place.transport == "local":
        return {**device_agent.facts(device_agent.Probe()), "kind": "tool"}
    cores = facts.get("cores", "")
    return {
        "kind": "tool",
        "system": facts.get("system"),
        "architecture": facts.get("architecture"),
        "model": facts.get("model"),
        "processor": facts.get("soc") or facts.get("architecture"),
        "cores": int(cores) if cores.isdigit() else None,
    }


def _state(journal: Journal, probe: device_agent.Probe | None, when: str) -> None:
    """Note this machine's state; a tool on a device tells none."""
    if probe is not None:
        _say(journal, {"event": "state", "when": when, "t": 0.0, **probe.state()})


def _say(journal: Journal, line: Mapping[str, Any]) -> None:
    journal.add(json.dumps(line))


def _program(module: ModuleType, chosen: str, place: Device, connection: Connection) -> str:
    """Return the program's path where it runs; one that lies here is pushed to a device.

    Raises:
        UnavailableError: it is nowhere.
    """
    more = getattr(module, "MORE", None)
    given = module.PROGRAM if more else chosen or module.PROGRAM
    if place.transport == "local":
        folders = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
        found = shutil.which(given, path=folders)
        if found is not None:
            return str(Path(found).absolute())
    elif chosen and Path(chosen).is_file():
        pushed = str(connection.push(Path(chosen), module.PROGRAM))
        connection.run(["chmod", "700", pushed], timeout=60)
        return pushed
    else:
        look = 'command -v "$1" || { [ -x "$2/$1" ] && echo "$2/$1"; }'
        asked = ["sh", "-c", look, "sh", given, _ANDROID]
        said = connection.run(asked, timeout=60).stdout.strip()
        if said.startswith("/") and "\n" not in said:
            return said
    where = "here" if place.transport == "local" else f"on device {printable(place.name)!r}"
    raise UnavailableError(
        f"There is no program {printable(given)} {where}.",
        f"{module.WHERE}. Then name it: --tool {module.PROGRAM}=PATH",
    )


def _model(path: Path, job: Job, place: Device, connection: Connection) -> str:
    """Return the model's path where the tool runs."""
    if place.transport == "local":
        return str(path.absolute())
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder, and no tool on a device takes one.")
    return str(connection.push(path, f"model-{sha256_of(path)[:16]}.{job.format}"))


def _command(module: ModuleType, program: str, job: Job, result: str, chosen: str) -> list[str]:
    more = {"device": chosen} if getattr(module, "MORE", None) else {}
    command: list[str] = module.command(program, job, result, **more)
    return command


def _result(connection: Connection, result: str, draft: Path) -> str:
    """Return what the tool wrote into its file; nothing where it wrote none."""
    if connection.run(["test", "-f", result], timeout=60).returncode != 0:
        return ""
    try:
        connection.pull(result, draft)
        return draft.read_text(errors="replace")
    finally:
        draft.unlink(missing_ok=True)


def _take(
    journal: Journal, module: ModuleType, done: transports.Finished, text: str, job: Job
) -> None:
    """Add a tool's answer to the journal.

    Raises:
        BenchmarkError: it failed, or its answer is none that edgekit knows.
    """
    said = f"{done.stdout}\n{done.stderr}"
    try:
        lines: list[dict[str, Any]] = module.lines(said, text, job)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        lines, said = [], f"{said}\n{error!r}"
    errors = [line["message"] for line in lines if line["event"] == "error"]
    if done.returncode or errors or not lines:
        code = 128 - done.returncode if done.returncode > 128 else done.returncode
        words = [line.strip() for line in said.splitlines() if line.strip()]
        last = errors or [line for line in words if "error" in line.lower()][-1:] or words[-1:]
        how = loop.end_of(code) if code else "gave no answer that edgekit knows"
        raise BenchmarkError(f"{module.TITLE} {how}: {printable(''.join(last))[:300]}")
    for line in lines:
        _say(journal, line)
    if lines[-1]["event"] != "done":
        _say(journal, {"event": "done"})
