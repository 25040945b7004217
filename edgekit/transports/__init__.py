"""Transports: how a device is reached.  One module each; this page is their contract.

A transport module holds::

    ADDRESS: str                               # what a device's ``address`` is, for messages
    def unavailable() -> UnavailableError | None    # why it cannot be used here, and the way out
    def open_link(device: Device) -> Link
    def listed() -> tuple[str, ...]            # optional: addresses that are attached just now

A `Link` starts shells and moves files.  All the rest is the same for every transport and stands in
`edgekit/transports/_session.py`: a private workspace, a guardian on the device that cleans up when
the link is lost, timeouts that end the whole process group, verified and resumed pushes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from edgekit import registry

if TYPE_CHECKING:
    from edgekit.devices import Device


@dataclass(frozen=True)
class Finished:
    """What a program on a device left: its exit code, and all that it wrote."""

    returncode: int
    stdout: str
    stderr: str


class Connection(Protocol):
    """An open connection to a device; a context manager.

    Every method raises `LinkLostError` when the device can no longer be reached, and `DeviceError`
    for whatever else goes wrong over there.
    """

    workspace: PurePosixPath
    """Private folder on the device (mode 0700), which `close` removes."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None,
        on_line: Callable[[str], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run a program in the workspace, without input, to its end.

        Args:
            argv: Program and arguments, exactly as the program gets them: no shell reads them.
            timeout: Seconds after which its whole process group is killed; None for no limit.
            on_line: Told each line of standard output as it arrives, without its line end.
            env: Variables added to its environment.

        Raises:
            DeviceTimeoutError: it took longer.
        """
        ...

    def push(self, local: Path, name: str) -> PurePosixPath:
        """Copy a file into the workspace, unless the same content is there; return its path.

        What arrived is verified by sha256.  A push that the link interrupted goes on where it was.
        """
        ...

    def pull(self, remote: PurePosixPath | str, local: Path) -> None:
        """Copy a file from the device; verified by sha256."""
        ...

    def lock(self, holder: str) -> None:
        """Take the device for this connection alone, until it closes or is lost.

        Args:
            holder: Who takes it, for the message that another one gets.

        Raises:
            DeviceBusyError: somebody else has it; the message names the holder.
        """
        ...

    def close(self) -> None:
        """End what still runs, remove the workspace, give the lock back, disconnect."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Channel(Protocol):
    """A shell that was started on a device."""

    def write(self, data: bytes) -> None:
        """Write to its standard input; nothing happens when it has ended."""
        ...

    def end(self) -> None:
        """Close its standard input."""
        ...

    def read(self, timeout: float) -> tuple[str, bytes] | None:
        """Return ("out" or "err", bytes), or ("end", b"") once it is over; None when it is idle."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Link(Protocol):
    """What a transport knows: starting shells and moving files.

    Every method but `close` raises an OSError when it fails, be it the link or the device's disk.
    """

    folder: str
    """Where locks are made on the device, and workspaces unless its description says."""

    def start(self) -> Channel:
        """Start ``sh -s edgekit`` as the leader of a process group of its own."""
        ...

    def send(self, local: Path, remote: PurePosixPath, done: int) -> None:
        """Append what follows the first `done` bytes of a file to a file on the device."""
        ...

    def fetch(self, remote: PurePosixPath, local: Path) -> None:
        """Copy a file from the device."""
        ...

    def close(self) -> None:
        """Disconnect, at once and from any thread; whatever is under way fails."""
        ...


def connect(device: Device) -> Connection:
    """Connect to a device and make a workspace on it.

    Raises:
        UnavailableError: what the transport needs is not installed here.
        DeviceError: the device cannot be reached, or refuses us.
    """
    from edgekit.transports._session import Session

    transport = registry.load("transports", device.transport)
    reason = transport.unavailable()
    if reason is not None:
        raise reason
    return Session(device, transport.open_link)
