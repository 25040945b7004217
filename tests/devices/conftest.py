"""Devices that really run: an arm64 board behind sshd, an arm64 phone behind adbd."""

import os
import shutil
import subprocess
import time
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit import provisioning, transports
from edgekit.devices import Device

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "board.sh"
CROSS = "aarch64-linux-gnu-gcc"
OURS = ("777", "edgekit_runner", "device_agent.py")  # words of what we start on a device
LIBRARIES = {"ai-edge-litert": "libLiteRt.so", "onnxruntime": "libonnxruntime.so"}
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


def seen_on(booted: Booted) -> tuple[list[str], list[str]]:
    """Return the files of ours on a device, and the processes."""
    with transports.connect(booted.device) as connection:
        place = connection.workspace
        names = connection.run(["ls", "-a", str(place.parent)], timeout=30).stdout.split()
        shown = connection.run(["sh", "-c", "cat /proc/[0-9]*/cmdline"], timeout=30).stdout
    files = [name for name in names if name.startswith("edgekit") and name != place.name]
    return files, [word for word in shown.split("\0") if word.endswith(OURS)]


def becomes_clean(booted: Booted, seconds: float = 90) -> bool:
    until = time.monotonic() + seconds
    while seen_on(booted) != ([], []):
        if time.monotonic() > until:
            return False
        time.sleep(1)
    return True


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
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")  # each has devices of its own
    os.environ.update(
        HOME=str(folder),
        ANDROID_ADB_SERVER_PORT=str(5947 + int(worker.removeprefix("gw") or 0)),
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


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own; the local device keeps its files in the one returned."""
    folder = tmp_path / "device"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("edgekit.transports.local._Local.folder", str(folder))
    return folder


@pytest.fixture(scope="session")
def runner(tmp_path_factory) -> Path:
    """The native runner for the phone, and the runtimes' libraries beside it."""
    if shutil.which(CROSS) is None:
        pytest.skip(f"needs {CROSS}: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
    folder = tmp_path_factory.mktemp("runner")
    subprocess.run(
        [ROOT / "scripts/build_runner.sh", folder / "edgekit_runner"],
        check=True,
        capture_output=True,
        env={**os.environ, "CC": CROSS},
    )
    about = {"python": (3, 11), "machine": "aarch64", "glibc": 36}
    for package, library in LIBRARIES.items():
        for wheel in provisioning._wheels(package, about):
            if wheel.name.startswith(package.replace("-", "_")):
                unpack(wheel, library, folder)
    return folder


def unpack(wheel: Path, library: str, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if Path(name).name.startswith(library)]
        (folder / library).write_bytes(archive.read(min(names, key=len)))
