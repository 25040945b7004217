"""Devices that really run: an arm64 board behind sshd, an arm64 phone behind adbd."""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.devices import Device

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "board.sh"
BOARD = Path(os.environ.get("EDGEKIT_BOARD", ROOT / "build" / "board"))


@dataclass(frozen=True)
class Booted:
    """A running emulated device, and its cable."""

    device: Device
    link: str
    known_hosts: str

    def cable(self, state: str) -> None:
        """Pull the cable (``down``) or plug it in (``up``)."""
        subprocess.run(["ip", "link", "set", self.link, state], check=True)


def boot(kind: str) -> Iterator[Booted]:
    if not (BOARD / f"{kind}.complete").exists() or os.geteuid() != 0:
        pytest.skip("needs root, and the emulated devices: sudo scripts/board.sh devices")
    process = subprocess.Popen(
        [SCRIPT, "boot", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    lines = []
    while (line := process.stdout.readline().decode()) not in ("\n", ""):
        lines.append(line)
    try:
        notes = dict(line[2:].strip().split(": ", 1) for line in lines if line.startswith("# "))
        ((name, table),) = tomllib.loads("".join(lines))["devices"].items()
        yield Booted(Device(name, **table), notes["link"], notes.get("known_hosts", ""))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home without the user's keys, hosts and adb server."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".ssh").mkdir(mode=0o700)
    before = dict(os.environ)
    os.environ.update(
        HOME=str(folder),
        ANDROID_ADB_SERVER_PORT="5947",
        EDGEKIT_CONFIG=str(folder / "config"),
    )
    os.environ.pop("SSH_AUTH_SOCK", None)
    yield folder
    from edgekit.transports import adb

    client = adb._client()
    if client is not None:
        subprocess.run([client, "kill-server"], capture_output=True, check=False)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def pi(home: Path) -> Iterator[Booted]:
    """An emulated Raspberry Pi, whose host key is known."""
    for booted in boot("pi"):
        (home / ".ssh" / "known_hosts").write_text(booted.known_hosts + "\n")
        yield booted


@pytest.fixture(scope="session")
def phone(home: Path) -> Iterator[Booted]:
    """An emulated phone."""
    assert shutil.which("ip")
    yield from boot("phone")
