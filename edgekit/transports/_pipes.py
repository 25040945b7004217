"""A shell that a local process runs: this machine's own, or an adb client's on a phone."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import IO

from edgekit.errors import UnavailableError


class PipeChannel:
    """A local process as a channel; see `edgekit.transports.Channel`."""

    def __init__(self, command: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a constant command, no shell of ours
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"{command[0]} cannot be started: {error.strerror}.") from None
        self._pieces: queue.Queue[tuple[str, bytes]] = queue.Queue()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        pumps = [
            threading.Thread(target=self._pump, args=pair, daemon=True)
            for pair in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        threading.Thread(target=self._finish, args=(pumps,), daemon=True).start()

    def _pump(self, kind: str, pipe: IO[bytes]) -> None:
        with pipe:
            while data := os.read(pipe.fileno(), 2**16):
                self._pieces.put((kind, data))

    def _finish(self, pumps: list[threading.Thread]) -> None:
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        self._process.wait()
        self._pieces.put(("end", b""))

    def write(self, data: bytes) -> None:
        """Write to its standard input."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def end(self) -> None:
        """Close its standard input."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def read(self, timeout: float) -> tuple[str, bytes] | None:
        """Return the next piece of output, or None when there is none for `timeout` seconds."""
        try:
            return self._pieces.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Close the input, and end the process if it has not ended."""
        self.end()
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
