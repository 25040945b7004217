"""This machine, reached as if it were a device: no network, the same protocol."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from edgekit.devices import Device
from edgekit.errors import UnavailableError
from edgekit.transports import Channel, Link
from edgekit.transports._pipes import PipeChannel

ADDRESS = "nothing"


def unavailable() -> UnavailableError | None:
    """Return why this machine cannot be its own device."""
    if os.name == "posix" and shutil.which("sh"):
        return None
    return UnavailableError(
        "This machine has no POSIX shell, which the local transport needs.",
        "Leave --device out to measure on it.",
    )


def open_link(device: Device) -> Link:  # noqa: ARG001 - all devices of this kind are one
    """Return the link; there is nothing to open."""
    return _Local()


class _Local:
    folder = tempfile.gettempdir()

    def start(self) -> Channel:
        return PipeChannel(["sh", "-s", "edgekit"])

    def send(self, local: Path, remote: PurePosixPath, done: int) -> None:
        with local.open("rb") as source, Path(remote).open("r+b" if done else "wb") as aim:
            source.seek(done)
            aim.seek(done)
            shutil.copyfileobj(source, aim)

    def fetch(self, remote: PurePosixPath, local: Path) -> None:
        shutil.copyfile(remote, local)

    def close(self) -> None:
        """Nothing to close: the channels end by themselves."""
