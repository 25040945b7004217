"""One connection to a device: what every transport has in common."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from edgekit.devices import Device
from edgekit.errors import (
    DeviceBusyError,
    DeviceError,
    DeviceTimeoutError,
    LinkLostError,
    UsageError,
)
from edgekit.hashing import sha256_of
from edgekit.text import printable
from edgekit.transports import Channel, Finished, Link, _scripts

BEAT = 5.0  # seconds between signs of life
DEAD = 20.0  # seconds without one until a side gives the other up
GRACE = 20.0  # seconds that a lost workspace waits for a new connection
_SHORT = 60.0  # seconds for anything that is done in an instant
_TRIES = 3  # connections that one push may take
_LINE = 2**26  # characters: a longer line of a program is cut in pieces
_OUTPUT = 2**26  # characters of a program's output that are kept
_ERRORS = 2**20  # bytes of its error output, the last ones
_BUSY = _REFUSED = 75  # exit code of the scripts that say no
_LONG = 600.0  # seconds for reading a big file once
_SPARE = 2**16  # bytes that shall stay free


class Session:
    """See `edgekit.transports.Connection`; made by `edgekit.transports.connect`."""

    def __init__(self, device: Device, open_link: Callable[[Device], Link]) -> None:
        self._device = device
        self._open_link = open_link
        self._where = f"device {printable(device.name)!r}"
        self._part_size = 0
        self.workspace = PurePosixPath()
        self._open(space="")

    # -- The life of a connection ------------------------------------------------------------------

    def _open(self, space: str) -> None:
        """Connect, and start the guardian of a new workspace or of the one given."""
        self._lost = threading.Event()
        self._closing = threading.Event()
        self._link = self._open_link(self._device)
        folder = self._device.folder or self._link.folder
        self._lock_path = str(PurePosixPath(self._link.folder) / "edgekit.lock")
        try:
            self._guardian = self._link.start()
        except OSError as error:
            self._link.close()
            raise DeviceError(f"No shell could be started on {self._where}: {error}.") from error
        try:
            self._guardian.write(
                _scripts.guardian(
                    folder=folder, lock=self._lock_path, space=space, dead=DEAD, grace=GRACE
                )
            )
            _, self._guardian_pid, place = self._greeting().split(" ", 2)
        except BaseException:
            self._guardian.end()
            self._link.close()
            raise
        if space != place and not re.fullmatch(re.escape(folder) + r"/edgekit-\w{8}", place):
            self._link.close()
            raise DeviceError(f"{self._where.capitalize()} made the folder {printable(place)}.")
        self.workspace = PurePosixPath(place)
        self._heard = time.monotonic()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def _greeting(self) -> str:
        """Return the guardian's first line."""
        out, err = b"", b""
        deadline = time.monotonic() + _SHORT
        while time.monotonic() < deadline:
            piece = self._guardian.read(1.0)
            if piece is None:
                continue
            kind, data = piece
            out, err = out + data * (kind == "out"), err + data * (kind == "err")
            for line in out.decode(errors="replace").splitlines(keepends=True):
                if line.startswith("space ") and line.endswith("\n"):
                    return line.rstrip("\n")
            if kind == "end":
                break
        else:
            raise DeviceError(
                f"{self._where.capitalize()} did not answer within {_SHORT:g} s.",
                "Is it switched on, and on its cable or network?",
            )
        said = printable(err.decode(errors="replace").strip()[-300:])
        raise DeviceError(
            f"No workspace could be made on {self._where}" + (f": {said}." if said else "."),
            "Name a folder that may be written, with `folder` in its table in edgekit.toml.",
        )

    def _beat(self) -> None:
        """Tell the guardian every few seconds that we live, and hear that it does."""
        self._heard = sent = time.monotonic()
        guardian, link, lost, closing = self._guardian, self._link, self._lost, self._closing
        while not closing.is_set():
            now = time.monotonic()
            if now >= sent + BEAT:
                guardian.write(b"beat\n")
                sent = now
            piece = guardian.read(0.2)
            if piece is not None and piece[0] == "out":
                self._heard = time.monotonic()
            ended = piece is not None and piece[0] == "end"
            if ended or time.monotonic() > self._heard + DEAD:
                lost.set()
                link.close()  # whatever waits for it shall not wait longer
                return

    def close(self) -> None:
        """End what runs, remove the workspace, give the lock back, disconnect."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._heart.join()
        if not self._lost.is_set():
            self._guardian.write(b"bye\n")
            deadline = time.monotonic() + DEAD
            while time.monotonic() < deadline:
                piece = self._guardian.read(0.5)
                if piece is not None and piece[0] == "end":
                    break
        self._guardian.end()  # one that is not heard any more takes it as the end, too
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _link_lost(self, doing: str) -> LinkLostError:
        self._lost.set()
        return LinkLostError(
            f"The connection to {self._where} was lost {doing}.",
            "What was started there ends by itself; reconnect the device and run it again.",
        )

    # -- Programs ----------------------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None,
        on_line: Callable[[str], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run a program in the workspace to its end."""
        script = _scripts.running(str(self.workspace), argv, env or {})
        what = printable(PurePosixPath(argv[0]).name)
        return self._script(script, f"while it ran {what}", timeout, on_line)

    def _script(
        self,
        script: bytes,
        doing: str,
        timeout: float | None = _SHORT,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """Run a script in a shell of its own; its process group is killed if it takes too long."""
        if self._lost.is_set() or self._closing.is_set():
            raise self._link_lost(f"before it could go on ({doing})")
        token = secrets.token_hex(8)
        lines, errors = _Lines(on_line, token), bytearray()
        try:
            channel = self._link.start()
        except OSError as error:
            raise self._link_lost(doing) from error
        try:
            channel.write(_scripts.framed(script, token))
            channel.end()
            self._follow(channel, lines, errors, doing, timeout)
        except BaseException:  # a Ctrl-C as well: nothing stays running over there
            self._kill(lines.group)
            raise
        finally:
            channel.close()
        if lines.code is None:
            if not self._answers():
                raise self._link_lost(doing)
            raise DeviceError(f"{self._where.capitalize()} killed our shell {doing}.")
        return Finished(lines.code, lines.text(), errors.decode(errors="replace"))

    def _follow(
        self,
        channel: Channel,
        lines: _Lines,
        errors: bytearray,
        doing: str,
        timeout: float | None,
    ) -> None:
        """Take in what a shell writes, until its end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            piece = channel.read(0.2)
            if piece is None:
                if self._lost.is_set():
                    raise self._link_lost(doing)
            elif piece[0] == "out":
                lines.feed(piece[1])
            elif piece[0] == "err":
                errors += piece[1]
                del errors[:-_ERRORS]
            else:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise DeviceTimeoutError(
                    f"{self._where.capitalize()} did not finish within {timeout:g} s {doing}, "
                    "and what ran was killed.",
                    "Allow more with --timeout.",
                )

    def _kill(self, group: str) -> None:
        if not group or self._lost.is_set():
            return  # the guardian does it
        with contextlib.suppress(DeviceError):
            self._script(_scripts.killing(group), "while a program was being stopped")

    def _answers(self) -> bool:
        """Wait for the next sign of life; return whether it came."""
        since, until = time.monotonic(), time.monotonic() + DEAD
        while time.monotonic() < until and not self._lost.wait(0.05):
            if self._heard > since:
                return True
        return False

    # -- Files -------------------------------------------------------------------------------------

    def push(self, local: Path, name: str) -> PurePosixPath:
        """Copy a file into the workspace, unless the same content is there."""
        if name in ("", ".", "..") or "/" in name or "\0" in name or name.startswith("."):
            raise UsageError(f"{name!r} is no name for a file on a device.")
        aim, identity = self.workspace / name, sha256_of(local)
        part = self.workspace / f".part-{identity[:16]}"
        for attempt in range(_TRIES):
            try:
                if not self._there(local, identity, part, aim):
                    self._send(local, identity, part, aim)
                break
            except LinkLostError:
                if attempt == _TRIES - 1:
                    raise
                self._again()
        return aim

    def _there(self, local: Path, identity: str, part: PurePosixPath, aim: PurePosixPath) -> bool:
        """Return whether the device has a file; if not, make sure that there is room for it."""
        known = self._look(part, aim)
        if known.sum == identity:
            return True
        size = local.stat().st_size
        self._part_size = known.size if known.size <= size else 0
        if known.free is not None and known.free < size - self._part_size + _SPARE:
            raise DeviceError(
                f"The disk of {self._where} is full: {local.name} needs {size / 1e6:.1f} MB, "
                f"and {known.free / 1e6:.1f} MB are free in {self.workspace.parent}.",
                "Make room there, or name another folder with `folder` in edgekit.toml.",
            )
        return False

    def _send(self, local: Path, identity: str, part: PurePosixPath, aim: PurePosixPath) -> None:
        """Send what the device lacks of a file, check the whole and put it in place."""
        doing = f"while {local.name} was sent"
        for _ in range(2):
            try:
                self._link.send(local, part, self._part_size)
            except OSError as error:
                if not self._answers():
                    raise self._link_lost(doing) from error
                self._there(local, identity, part, aim)  # says so if the disk is full
                raise DeviceError(
                    f"{local.name} could not be sent to {self._where}: {printable(str(error))}."
                ) from error
            done = self._script(_scripts.placing(str(part), str(aim), identity), doing, _LONG)
            if done.returncode == 0:
                return
            if done.returncode != _REFUSED:
                raise self._failed(f"{local.name} could not be put in place", done)
            self._part_size = 0
        raise DeviceError(
            f"{local.name} arrived on {self._where} with other content, twice.",
            "Its storage or its cable may be faulty.",
        )

    def _again(self) -> None:
        """Connect anew, and take the workspace over from its guardian."""
        self._closing.set()
        self._heart.join()
        self._guardian.end()
        self._link.close()
        last: DeviceError | None = None
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            try:
                self._open(space=str(self.workspace))
                return
            except DeviceError as error:
                last = error
                time.sleep(1)
        assert last is not None
        raise self._link_lost("and could not be made again") from last

    def _look(self, part: PurePosixPath, aim: PurePosixPath) -> _Known:
        script = _scripts.looking(str(self.workspace), str(aim), str(part))
        said = self._script(script, "while a file was looked for", _LONG)
        words = {line.split()[0]: line.split()[1:] for line in said.stdout.splitlines() if line}
        sums, sizes, room = words.get("sum", [""]), words.get("size", ["0"]), words.get("free", [])
        free = int(room[3]) * 1024 if len(room) > 3 and room[3].isdigit() else None
        return _Known(sums[0], int(sizes[0]) if sizes[0].isdigit() else 0, free)

    def pull(self, remote: PurePosixPath | str, local: Path) -> None:
        """Copy a file from the device."""
        source = self.workspace / remote
        said = self._script(_scripts.summing(str(source)), "while a file was checked", _LONG)
        expected = "".join(said.stdout.split()[:1])
        if said.returncode != 0 or not expected:
            raise DeviceError(f"There is no file {printable(str(source))} on {self._where}.")
        draft = local.with_name(f".{local.name}.{os.getpid()}")
        try:
            try:
                self._link.fetch(source, draft)
            except OSError as error:
                if not self._answers():
                    raise self._link_lost(f"while {source.name} was fetched") from error
                raise DeviceError(
                    f"{source.name} could not be fetched from {self._where}: "
                    f"{printable(str(error))}."
                ) from error
            if hashlib.sha256(draft.read_bytes()).hexdigest() != expected:
                raise DeviceError(f"{source.name} arrived from {self._where} with other content.")
            draft.replace(local)
        finally:
            draft.unlink(missing_ok=True)

    # -- The lock ----------------------------------------------------------------------------------

    def lock(self, holder: str) -> None:
        """Take the device for this connection alone."""
        script = _scripts.locking(self._lock_path, self._guardian_pid, printable(holder))
        done = self._script(script, "while it was locked")
        if done.returncode == _BUSY:
            raise DeviceBusyError(
                f"{self._where.capitalize()} is busy: "
                f"{printable(done.stdout.strip()) or 'somebody'} runs on it.",
                "Wait until that run has ended; two at once would spoil both.",
            )
        if done.returncode != 0:
            raise self._failed(f"{self._lock_path} could not be made", done)

    def _failed(self, what: str, done: Finished) -> DeviceError:
        said = printable(done.stderr.strip()[-300:])
        return DeviceError(f"On {self._where}, {what}" + (f": {said}." if said else "."))


@dataclass(frozen=True)
class _Known:
    """What a device has of a file: its sha256, the bytes of its part; and bytes that are free."""

    sum: str
    size: int
    free: int | None


class _Lines:
    """Output cut into lines as it arrives; the first and the last are our own."""

    def __init__(self, on_line: Callable[[str], None] | None, token: str) -> None:
        self.group = ""
        self.code: int | None = None
        self._on_line = on_line
        self._token = token
        self._rest = b""
        self._kept: list[str] = []
        self._room = _OUTPUT
        self._blank = 0  # empty lines that wait: the very last is ours

    def feed(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for raw in whole:
            line = raw.decode(errors="replace").rstrip("\r")
            if not self.group and line.startswith("group "):
                self.group = line.split()[1]
            elif line.startswith(self._token):
                self.code = int(line.split()[1])
            else:
                self._keep(line)
        if len(self._rest) > _LINE:
            self._keep(self._rest.decode(errors="replace"))
            self._rest = b""

    def text(self) -> str:
        return "".join(f"{line}\n" for line in (*self._kept, *[""] * (self._blank - 1)))

    def _keep(self, line: str) -> None:
        if not line:
            self._blank += 1
            return
        for each in (*[""] * self._blank, line):
            self._room -= len(each) + 1
            if self._room > 0:
                self._kept.append(each)
            if self._on_line is not None:
                self._on_line(each)
        self._blank = 0
