"""Run one function in a process of its own, so that whatever it does stays there.

The vendors' converters crash, hang, fill memory and talk.  A worker is a fresh interpreter whose
output goes to a log file and whose answer comes back as JSON.  It may be started early to import
its heavy libraries while the parent still prepares the request::

    worker = start(log, warm_up="edgekit.formats.onnx:warm_up")
    ...
    outcome = call(worker, "edgekit.convert:build", {"program": "..."}, timeout=600)

The parent writes the request to the worker's standard input and keeps that pipe open: when the
parent dies, however it dies, the pipe closes and the worker ends itself.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgekit import clock
from edgekit.blame import first_line, plain, root_cause
from edgekit.errors import ConversionError, EdgekitError


@dataclass(frozen=True)
class Worker:
    """A started process: where it talks to, and where it answers."""

    process: subprocess.Popen[bytes]
    log: Path
    reply: Path
    stage: Path


@dataclass(frozen=True)
class Outcome:
    """What a worker brought back.

    Attributes:
        value: What the function returned.
        peak_rss_bytes: The worker's highest resident memory.
        seconds: Wall time.
        parts: Seconds of its parts, by name (`edgekit.clock`).
    """

    value: Any
    peak_rss_bytes: int
    seconds: float
    parts: dict[str, float]


def start(log: Path, *, warm_up: str | None = None, temporary: Path | None = None) -> Worker:
    """Start a worker.

    Args:
        log: Where everything that it prints goes.
        warm_up: A function ("module:function") that it calls while it waits for its request.
        temporary: Folder for its temporary files, which the caller removes: a process that crashes
            does not.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    reply, stage = log.with_suffix(".reply"), log.with_suffix(".stage")
    reply.unlink(missing_ok=True)
    stage.write_text("")
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-m", "edgekit.worker", str(reply), str(stage), warm_up or ""],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
            env=_environment(temporary),
        )
    return Worker(process, log, reply, stage)


def call(
    worker: Worker,
    function: str,
    request: dict[str, Any],
    *,
    timeout: float,
    on_stage: Callable[[str], None] | None = None,
) -> Outcome:
    """Send the one request that a worker takes, wait, and return its outcome.

    `on_stage` is told what the worker does now, whenever that changes.

    Raises:
        EdgekitError: the very error that the function raised, or a ConversionError that says how
            the process ended (crash, signal, memory, `timeout` seconds gone) and where its log is.
    """
    started = time.monotonic()
    message = json.dumps({"function": function, "request": request}).encode() + b"\n"
    pipe = worker.process.stdin
    assert pipe is not None
    with contextlib.suppress(BrokenPipeError):  # it died early; its exit code says why
        pipe.write(message)
        pipe.flush()
    try:
        if not _wait(worker, started + timeout, on_stage):
            raise ConversionError(
                f"{_doing(worker)} did not finish within {timeout:g} s and was stopped.",
                f"Allow more with --timeout; the converter's own words are in {worker.log}.",
            )
    finally:
        stop(worker)
    answer = _read_json(worker.reply)
    if answer is None:
        raise _death(worker)
    if "error" in answer:
        raise EdgekitError.from_json(answer["error"])
    seconds = time.monotonic() - started
    return Outcome(answer["value"], answer["peak_rss_bytes"], seconds, answer["parts"])


def _wait(worker: Worker, deadline: float, on_stage: Callable[[str], None] | None) -> bool:
    """Wait for the process to end; return whether it did before the deadline."""
    said = ""
    while time.monotonic() < deadline:
        now = current_stage(worker) if on_stage is not None else ""
        if on_stage is not None and now != said:
            on_stage(now)
            said = now
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(min(_POLL, max(0.0, deadline - time.monotonic())))
            return True
    return False


def discard(worker: Worker) -> None:
    """Remove what a worker wrote about itself, once nobody needs its log."""
    for path in (worker.log, worker.reply, worker.stage):
        path.unlink(missing_ok=True)


def stop(worker: Worker) -> None:
    """End a worker and everything that it started; harmless when it has ended."""
    _kill_group(worker.process)
    if worker.process.stdin is not None:
        with contextlib.suppress(OSError):
            worker.process.stdin.close()


def stage(name: str) -> None:
    """Say, from inside a worker, what it does now; outside of one this does nothing."""
    if _stage_file is not None:
        _stage_file.write_text(name)


def current_stage(worker: Worker) -> str:
    """Return what the worker last said that it does."""
    try:
        return worker.stage.read_text()
    except OSError:
        return ""


def in_process(function: str, request: dict[str, Any]) -> Outcome:
    """Call the same function right here: for debuggers, and for callers without isolation."""
    started = time.monotonic()
    clock.taken()
    value = _resolve(function)(**request)
    return Outcome(value, peak_rss_bytes(), time.monotonic() - started, clock.taken())


@dataclass(frozen=True)
class Said:
    """What a foreign program answered: its exit code and all that it wrote."""

    code: int
    output: str


def run_tool(command: Sequence[str], folder: Path, *, timeout: float = 300) -> Said:
    """Run a foreign program that needs no containing, such as a compiler, to its end.

    Args:
        command: Program and arguments; no shell reads them.
        folder: Where it runs.
        timeout: Seconds that it may take.

    Raises:
        ConversionError: it took longer, or could not be started.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConversionError(f"{command[0]} did not finish within {timeout:g} s.") from None
    except OSError as error:
        raise ConversionError(f"{command[0]} cannot be started: {error.strerror}.") from None
    return Said(done.returncode, done.stdout.decode(errors="replace"))


def follow_tool(
    command: Sequence[str], log: Path, *, on_line: Callable[[str], None], timeout: float
) -> int:
    """Run a foreign program, hand on each line that it writes at once, and return its exit code.

    Args:
        command: Program and arguments; no shell reads them.
        log: Where its standard error goes.
        on_line: Told each line of its standard output.
        timeout: Seconds after which it is stopped.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as talk:
        process = subprocess.Popen(  # noqa: S603 - no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=talk,
            start_new_session=True,
            env=_environment(None),
            text=True,
            errors="replace",
        )
    assert process.stdout is not None
    alarm = threading.Timer(timeout, _kill_group, [process])
    alarm.daemon = True
    alarm.start()
    try:
        for line in process.stdout:
            on_line(line.rstrip("\n"))
        return process.wait()
    finally:
        alarm.cancel()
        _kill_group(process)
        process.stdout.close()


def _kill_group(process: subprocess.Popen[Any]) -> None:
    """End a process and all that it started."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def peak_rss_bytes() -> int:
    """Return this process's highest resident memory so far; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else 0
    with contextlib.suppress(ImportError):
        import resource

        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS
    return 0


def last_words(log: Path, limit: int = 300) -> str:
    """Return the last line of a log that says something, cut to `limit` characters."""
    try:
        lines = log.read_text(errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    useful = (plain(line) for line in reversed(lines))
    return next((line[:limit] for line in useful if _NOISE.search(line) is None and line), "")


_NOISE = re.compile(
    r"^\W*$|^Original traceback|it/s\]|passes/s|^File \"|^\^+|^\*\*\*|Warning: |^#\d+ "
    r"|^Extension modules"
)
_POLL = 0.2  # seconds
_stage_file: Path | None = None


def _environment(temporary: Path | None) -> dict[str, str]:
    quiet = {
        "PYTHONFAULTHANDLER": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TQDM_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    place = {"TMPDIR": str(temporary)} if temporary is not None else {}
    return {**quiet, **os.environ, "PYTHONSAFEPATH": "1", **place}


def _doing(worker: Worker) -> str:
    return (current_stage(worker) or "the worker").capitalize()


def _death(worker: Worker) -> ConversionError:
    if _is_full(worker.log.parent):
        return ConversionError(
            f"The disk is full where {worker.log.parent} lies.",
            "Make room, or set EDGEKIT_CACHE to a folder on another disk.",
        )
    code = worker.process.returncode
    if code == -signal.SIGKILL:
        how = "was killed, most likely for want of memory"
    elif code < 0:
        how = f"crashed ({signal.Signals(-code).name})"
    else:
        how = f"ended without an answer (exit code {code})"
    said = last_words(worker.log)
    return ConversionError(
        f"{_doing(worker)} {how}{f'; its last words: {said}' if said and code > 0 else ''}.",
        f"The converter's own words are in {worker.log}.",
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _resolve(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _serve(reply: Path, warm_up: str) -> None:
    """Warm up, take one request from standard input, answer it in the file `reply`."""
    if warm_up:
        with contextlib.suppress(ImportError):  # the call itself will say what is missing
            _resolve(warm_up)()
    line = sys.stdin.buffer.readline()
    if not line:
        return
    threading.Thread(target=_end_with_parent, args=(sys.stdin.buffer,), daemon=True).start()
    message = json.loads(line)
    answer = _answer(message["function"], message["request"], reply.with_suffix(".log"))
    draft = reply.with_suffix(".draft")
    draft.write_text(json.dumps(answer))
    draft.replace(reply)


def _answer(function: str, request: dict[str, Any], log: Path) -> dict[str, Any]:
    try:
        outcome = in_process(function, request)
    except EdgekitError as error:
        traceback.print_exc()
        return {"error": error.to_json()}
    except MemoryError:
        traceback.print_exc()
        return {"error": ConversionError("Memory ran out.", "Close other programs.").to_json()}
    except Exception as error:  # noqa: BLE001 - the door of the process: the parent must hear of it
        traceback.print_exc()
        return {"error": foreign(error, f"The whole story is in {log}.").to_json()}
    return {
        "value": outcome.value,
        "peak_rss_bytes": outcome.peak_rss_bytes,
        "parts": outcome.parts,
    }


def foreign(error: Exception, hint: str) -> ConversionError:
    """Say in one sentence what an exception that is not ours means."""
    full = full_disk(error)
    if full is not None:
        return full
    doing = _stage_file.read_text() if _stage_file is not None else ""
    cause = root_cause(error)
    return ConversionError(
        f"{doing.capitalize() or 'It'} failed: {type(cause).__name__}: {first_line(cause)}", hint
    )


def full_disk(error: Exception) -> ConversionError | None:
    """Return the error to raise when one means that a disk is full, else None."""
    text = os.strerror(errno.ENOSPC)  # what a vendor's error says that is no OSError
    if text in str(error) or text in str(root_cause(error)) or _is_full(tempfile.gettempdir()):
        name = getattr(error, "filename", None)
        return ConversionError(
            f"The disk is full{f' where {name} was to be written' if name else ''}.",
            "Make room, or choose other folders with -o and EDGEKIT_CACHE.",
        )
    return None


def _is_full(folder: Path | str) -> bool:
    return shutil.disk_usage(folder).free < 2**12  # bytes: not a page is left


def _end_with_parent(pipe: IO[bytes]) -> None:
    pipe.read()
    os._exit(1)


if __name__ == "__main__":
    # As "__main__" this file is a second copy of the module: hand the stage file to the first.
    import edgekit.worker as _module

    _module._stage_file = Path(sys.argv[2])  # noqa: SLF001
    code = 1
    try:
        _module._serve(Path(sys.argv[1]), sys.argv[3])  # noqa: SLF001
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it belongs into the log
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # vendors' destructors have nothing to add, and some of them crash
