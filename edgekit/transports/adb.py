"""adb: an Android phone on a cable or on the network, through the user's own adb client."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
from pathlib import Path, PurePosixPath

from edgekit.devices import Device
from edgekit.errors import DeviceError, UnavailableError
from edgekit.text import printable
from edgekit.transports import Channel, Link
from edgekit.transports._pipes import PipeChannel

ADDRESS = "a serial number, or host:port"
_PATIENCE = 30.0  # seconds for what adb does in an instant, its server's start included
_CHUNK = 2**18  # bytes
_STATES = {
    "offline": "is offline: unplug it and plug it in again",
    "unauthorized": "waits for you to allow this computer on its screen",
    "no permissions": "may not be opened by you: install udev rules for Android devices",
}


def unavailable() -> UnavailableError | None:
    """Return why there is no adb client."""
    if _client() is not None:
        return None
    return UnavailableError("There is no adb client here.", "pip install 'edgekit[devices]'")


def listed() -> tuple[str, ...]:
    """Return the serial numbers of the devices that are attached just now."""
    return tuple(_states())


def open_link(device: Device) -> Link:
    """Find the device; one on the network is connected first.

    Raises:
        DeviceError: it is not attached, or not ready.
    """
    serial = device.address
    states = _states()
    if serial not in states and _is_network(serial):
        _adb("connect", serial)
        states = _states()
    elif _is_network(serial) and states[serial] == "offline":
        _adb("disconnect", serial)  # adb itself does not look again
        _adb("connect", serial)
        states = _states()
    if serial not in states:
        raise DeviceError(
            f"No device {printable(serial)} is attached.",
            f"Attached: {', '.join(map(printable, states)) or 'none'}; is USB debugging on?",
        )
    if states[serial] != "device":
        said = _STATES.get(states[serial], f"is in state {states[serial]!r}")
        raise DeviceError(f"Device {printable(serial)} {said}.")
    return _Adb(serial)


def _client() -> str | None:
    """Return the adb client: the user's own, else the one that adbutils brings."""
    found = os.environ.get("EDGEKIT_ADB") or shutil.which("adb")
    spec = None if found else importlib.util.find_spec("adbutils")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "binaries" / ("adb.exe" if os.name == "nt" else "adb")
        found = str(bundled) if bundled.exists() else None
    return found


def _adb(*arguments: str) -> str:
    client = _client()
    assert client is not None
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            [client, *arguments], capture_output=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"adb {arguments[0]} did not answer within {_PATIENCE:g} s.") from None
    except OSError as error:
        raise UnavailableError(f"{client} cannot be started: {error.strerror}.") from None
    return done.stdout.decode(errors="replace")


def _states() -> dict[str, str]:
    """Return each attached device's state by its serial number."""
    lines = [line.split("\t") for line in _adb("devices").splitlines() if "\t" in line]
    return {serial: state.split(";")[0].split(" (")[0].strip() for serial, state, *_ in lines}


def _is_network(serial: str) -> bool:
    return serial.rpartition(":")[2].isdigit() and ":" in serial


class _Adb:
    folder = "/data/local/tmp"

    def __init__(self, serial: str) -> None:
        client = _client()
        assert client is not None
        self._shell = [client, "-s", serial, "shell", "-T"]
        self._open: list[subprocess.Popen[bytes]] = []
        self._channels: list[PipeChannel] = []
        self._closed = False

    def start(self) -> Channel:
        if self._closed:
            raise ConnectionError("the connection is closed")
        channel = PipeChannel([*self._shell, "exec sh -s edgekit"])
        self._channels.append(channel)
        return channel

    def send(self, local: Path, remote: PurePosixPath, done: int) -> None:
        # adb push cannot append, so the bytes go to a shell; they cross adb's protocol unchanged.
        arrow = ">>" if done else ">"
        with self._started(f"exec cat {arrow} {shlex.quote(str(remote))}") as process:
            assert process.stdin is not None
            with local.open("rb") as source:
                source.seek(done)
                try:
                    shutil.copyfileobj(source, process.stdin, _CHUNK)
                    process.stdin.close()
                except BrokenPipeError:
                    pass  # its exit code and its words say why
            self._check(process)

    def fetch(self, remote: PurePosixPath, local: Path) -> None:
        with self._started(f"exec cat {shlex.quote(str(remote))}") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            with local.open("wb") as aim:
                shutil.copyfileobj(process.stdout, aim, _CHUNK)
            self._check(process)

    def _started(self, command: str) -> subprocess.Popen[bytes]:
        if self._closed:
            raise ConnectionError("the connection is closed")
        process = subprocess.Popen(  # noqa: S603 - one quoted path is all that is foreign
            [*self._shell, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._open.append(process)
        return process

    def _check(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip()
        code = process.wait()
        self._open.remove(process)
        if code != 0:
            raise OSError(said or f"exit code {code}")

    def close(self) -> None:
        self._closed = True
        for process in self._open:
            process.kill()
        for channel in self._channels:
            channel.close()
