"""Connections to emulated devices: a real sshd, a real adbd, real cables that are pulled."""

import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit import transports
from edgekit.errors import (
    DeviceBusyError,
    DeviceError,
    DeviceTimeoutError,
    HostKeyError,
    LinkLostError,
)
from edgekit.transports import _session
from tests.devices.conftest import becomes_clean, seen_on

pytestmark = pytest.mark.boards

HOSTILE = 'it\'s $(touch pwned) `touch pwned` "x" \\ two\nlines \x1b[31m ü'


@pytest.fixture(params=["pi", "phone"])
def booted(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def hasty(monkeypatch):
    """A device that is silent for 10 s is given up, and waited for 5 s."""
    for name, value in {"BEAT": 0.5, "DEAD": 10.0, "GRACE": 5.0}.items():
        monkeypatch.setattr(_session, name, value)


def test_runs_pushes_and_pulls(booted, tmp_path):
    local, back = tmp_path / "local", tmp_path / "back"
    local.write_bytes(os.urandom(3_000_000))
    lines = []
    with transports.connect(booted.device) as connection:
        done = connection.run(
            ["sh", "-c", 'uname -m; echo "$WORD"; echo bad >&2; exit 7'],
            timeout=30,
            on_line=lines.append,
            env={"WORD": HOSTILE},
        )
        assert done.returncode == 7
        assert done.stdout == f"aarch64\n{HOSTILE}\n"
        assert lines == done.stdout.splitlines()
        assert done.stderr.endswith("bad\n")
        assert connection.run(["printf", "%s", HOSTILE], timeout=30).stdout == f"{HOSTILE}\n"
        remote = connection.push(local, "it's $(x).bin")
        assert connection.push(local, "it's $(x).bin") == remote
        connection.pull(remote, back)
        with pytest.raises(DeviceTimeoutError):
            connection.run(["sleep", "777"], timeout=1)
    assert back.read_bytes() == local.read_bytes()
    assert seen_on(booted) == ([], [])


def test_two_runs_at_once(booted):
    with transports.connect(booted.device) as first, transports.connect(booted.device) as second:
        first.lock("anna@desk")
        with pytest.raises(DeviceBusyError, match="busy: anna@desk runs on it"):
            second.lock("ben")


def test_cable_pulled_while_a_program_runs(booted, hasty):
    connection = transports.connect(booted.device)
    connection.lock("anna")
    lines = []

    def cut(line):
        lines.append(line)
        booted.cable("down")

    try:
        with pytest.raises(LinkLostError, match="was lost while it ran sh"):
            connection.run(["sh", "-c", "echo one; sleep 777"], timeout=60, on_line=cut)
        connection.close()
    finally:
        booted.cable("up")
    assert lines == ["one"]
    assert becomes_clean(booted)


@pytest.fixture
def slow_cable(booted):
    """A cable of 4 MB/s: what is under way can be interrupted, however fast the machine is."""
    queue = ["root", "tbf", "rate", "32mbit", "burst", "64kb", "latency", "100ms"]
    subprocess.run(["tc", "qdisc", "add", "dev", booted.link, *queue], check=True)
    yield
    subprocess.run(["tc", "qdisc", "del", "dev", booted.link, "root"], check=True)


def test_push_goes_on_after_the_cable_was_pulled(booted, hasty, slow_cable, tmp_path, monkeypatch):
    monkeypatch.setattr(_session, "GRACE", 60.0)  # a connection to nowhere is tried for 15 s
    size = 24_000_000
    local = tmp_path / "big"
    local.write_bytes(os.urandom(size))
    with transports.connect(booted.device) as connection:
        starts, lost = [], []
        cut = threading.Event()

        def watch(real):
            def send(path, remote, done):
                starts.append(done)
                if not cut.is_set():
                    cut.set()
                    threading.Timer(3.0, booted.cable, ["down"]).start()
                    threading.Timer(15.0, booted.cable, ["up"]).start()
                return real(path, remote, done)

            return send

        connection._link.send = watch(connection._link.send)
        plain = connection._open_link

        def again(device):
            lost.append(time.monotonic())
            link = plain(device)
            link.send = watch(link.send)
            return link

        connection._open_link = again
        remote = connection.push(local, "model")
        assert lost, "the cable was pulled too late"
        assert 0 < starts[-1] < size, "it started from nothing"
        connection.pull(remote, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == local.read_bytes()


def test_full_disk_is_named(booted, tmp_path):
    local = tmp_path / "model"
    local.write_bytes(os.urandom(1_000_000))
    device = replace(booted.device, folder="/full")
    with transports.connect(device) as connection:
        with pytest.raises(DeviceError, match=r"disk of device .* is full: model needs 1\.0 MB"):
            connection.push(local, "model")
        with pytest.MonkeyPatch.context() as patch:  # it fills up while the file arrives
            patch.setattr(_session, "_SPARE", -10_000_000)
            with pytest.raises(DeviceError, match="model could not be sent"):
                connection.push(local, "model")
    assert seen_on(booted) == ([], [])


def test_killed_shell_is_told_from_a_lost_link(booted):
    with transports.connect(booted.device) as connection:
        with pytest.raises(DeviceError, match="killed our shell") as caught:
            connection.run(["sh", "-c", "kill -s KILL $(ls .running)"], timeout=30)
        assert not isinstance(caught.value, LinkLostError)
        done = connection.run(["sh", "-c", "kill -s KILL $$"], timeout=30)
        assert done.returncode == 137


# -- SSH -------------------------------------------------------------------------------------------


def test_unknown_host_key_says_how_to_accept_it(pi, home):
    known = home / ".ssh" / "known_hosts"
    before = known.read_text()
    known.write_text("")
    try:
        with pytest.raises(HostKeyError, match="ssh-ed25519 SHA256:") as caught:
            transports.connect(pi.device)
    finally:
        known.write_text(before)
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", "-"], input=pi.known_hosts, capture_output=True, text=True
    ).stdout.split()[1]
    assert fingerprint in caught.value.message
    assert caught.value.hint.endswith(f"accept it with: ssh {pi.device.address} true")


def test_wrong_host_key_is_refused(pi, home, tmp_path):
    known = home / ".ssh" / "known_hosts"
    before = known.read_text()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"])
    other = (tmp_path / "other.pub").read_text().split()[:2]
    host = pi.known_hosts.split()[0]
    known.write_text(" ".join([host, *other]) + "\n")
    try:
        with pytest.raises(HostKeyError, match="is not the one that is known") as caught:
            transports.connect(pi.device)
    finally:
        known.write_text(before)
    assert f"ssh-keygen -R '{host}'" in caught.value.hint


def test_key_that_is_not_allowed_and_host_that_is_not_there(pi, home, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"])
    with pytest.raises(DeviceError, match="did not let us in"):
        transports.connect(replace(pi.device, identity=str(tmp_path / "other")))
    with pytest.raises(DeviceError, match="port 9 cannot be reached: Connection refused"):
        transports.connect(replace(pi.device, port=9))


def test_ssh_config_names_key_user_and_jump_host(pi, home):
    host = pi.known_hosts.split()[0]
    config = home / ".ssh" / "config"
    config.write_text(
        f"Host desk\n HostName {host}\n User pi\n IdentityFile {pi.device.identity}\n"
        f"Host behind\n HostName 127.0.0.1\n HostKeyAlias {host}\n ProxyJump desk\n User pi\n"
        f" IdentityFile {pi.device.identity}\n"
    )
    try:
        for address in ("desk", "behind"):
            with transports.connect(
                replace(pi.device, address=address, identity=None)
            ) as connection:
                assert connection.run(["hostname"], timeout=30).stdout == "emulated-pi\n"
    finally:
        config.unlink()


# -- adb -------------------------------------------------------------------------------------------


def test_unknown_serial_lists_what_is_attached(phone):
    transports.connect(phone.device).close()
    with pytest.raises(DeviceError, match="No device EMULATOR9 is attached") as caught:
        transports.connect(replace(phone.device, address="EMULATOR9"))
    assert phone.device.address in caught.value.hint


def test_nobody_else_reaches_the_devices(pi, phone):
    listening = subprocess.run(["ss", "-lntH"], capture_output=True, text=True).stdout
    assert ":15555 " not in listening
    vsock = subprocess.run(["ss", "-lH", "--vsock"], capture_output=True, text=True).stdout
    assert "5555" not in vsock
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "0\n"
