"""The protocol of a connection, on this machine: real shells, no network."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit import transports
from edgekit.devices import Device
from edgekit.errors import DeviceBusyError, DeviceError, DeviceTimeoutError, LinkLostError
from edgekit.transports import _session

HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    'a"b\\',
    "two\nlines",
    "\x1b[31m",
]


@pytest.fixture
def device(tmp_path, monkeypatch):
    folder = tmp_path / "dev ice's $(folder)"
    folder.mkdir()
    monkeypatch.setattr("edgekit.transports.local._Local.folder", str(folder))
    return Device("here", "local", folder=str(folder))


def left(device: Device) -> list[str]:
    return sorted(each.name for each in Path(device.folder).iterdir())


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    states = subprocess.run(["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True)
    return any(not state.startswith("Z") for state in states.stdout.split())


def gone(group: int, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and group_lives(group):
        time.sleep(0.05)
    return not group_lives(group)


def test_workspace_is_private_and_removed(device):
    with transports.connect(device) as connection:
        space = Path(connection.workspace)
        assert space.stat().st_mode & 0o777 == 0o700
        assert space.parent == Path(device.folder)
    assert left(device) == []


def test_run_brings_lines_codes_and_both_streams(device):
    seen = []
    with transports.connect(device) as connection:
        done = connection.run(
            ["sh", "-c", 'echo one; echo "$WORD"; printf last; echo bad >&2; exit 7'],
            timeout=10,
            on_line=seen.append,
            env={"WORD": "two words"},
        )
    assert (done.returncode, done.stdout, done.stderr) == (7, "one\ntwo words\nlast\n", "bad\n")
    assert seen == ["one", "two words", "last"]


def test_lines_arrive_while_the_program_runs(device):
    arrivals = []
    with transports.connect(device) as connection:
        connection.run(
            ["sh", "-c", "echo early; sleep 1; echo late"],
            timeout=10,
            on_line=lambda _line: arrivals.append(time.monotonic()),
        )
    assert arrivals[1] - arrivals[0] > 0.8


@pytest.mark.parametrize("word", HOSTILE)
def test_words_reach_a_program_as_they_are(device, word):
    with transports.connect(device) as connection:
        done = connection.run(["printf", "%s", word], timeout=10)
        assert done.stdout == f"{word}\n"
        done = connection.run(["sh", "-c", 'printf %s "$X"'], timeout=10, env={"X": word})
        assert done.stdout == f"{word}\n"
        assert not list(Path(connection.workspace).glob("*pwned*"))


@pytest.mark.parametrize("name", ["a b'c$(x).bin", "-rf", "new\nline"])
def test_files_of_any_name_come_back_as_they_went(device, tmp_path, name):
    local, back = tmp_path / "local", tmp_path / "back"
    local.write_bytes(os.urandom(100_000))
    with transports.connect(device) as connection:
        remote = connection.push(local, name)
        assert remote == connection.workspace / name
        connection.pull(remote, back)
    assert back.read_bytes() == local.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "back",
        Path(device.folder).name,
        "local",
    ]


def test_push_skips_what_is_there_and_replaces_what_differs(device, tmp_path, monkeypatch):
    local = tmp_path / "local"
    local.write_bytes(b"first")
    with transports.connect(device) as connection:
        remote = Path(connection.push(local, "model"))
        sent = []
        real = connection._link.send
        monkeypatch.setattr(connection._link, "send", lambda *a: (sent.append(a), real(*a)))
        connection.push(local, "model")
        assert sent == []
        local.write_bytes(b"second")
        connection.push(local, "model")
        assert remote.read_bytes() == b"second"
        assert len(sent) == 1


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd", ".owner", "a\0b"])
def test_no_file_leaves_the_workspace(device, tmp_path, name):
    (tmp_path / "x").write_bytes(b"x")
    with transports.connect(device) as connection, pytest.raises(Exception, match="no name"):
        connection.push(tmp_path / "x", name)


def test_timeout_kills_the_whole_group(device):
    groups = []
    with transports.connect(device) as connection:
        with pytest.raises(DeviceTimeoutError, match="within 1 s"):
            connection.run(
                ["sh", "-c", "ps -o pgid= -p $$; sleep 300 & sleep 300"],
                timeout=1,
                on_line=lambda line: groups.append(int(line)),
            )
        assert gone(groups[0])
        assert connection.run(["echo", "on"], timeout=10).stdout == "on\n"


def test_close_ends_what_still_runs(device):
    connection = transports.connect(device)
    connection.run(["sh", "-c", "ps -o pgid= -p $$ > group"], timeout=10)
    channel = connection._link.start()
    from edgekit.transports import _scripts

    channel.write(_scripts.running(str(connection.workspace), ["sleep", "300"], {}))
    channel.end()
    running = Path(connection.workspace) / ".running"
    while not list(running.iterdir()):
        time.sleep(0.05)
    group = int(next(running.iterdir()).name)
    connection.close()
    assert gone(group)
    assert left(device) == []


def test_second_run_is_told_who_holds_the_device(device):
    with transports.connect(device) as first, transports.connect(device) as second:
        first.lock("anna@desk \x1b[2J process 12")
        with pytest.raises(DeviceBusyError, match=r"busy: anna@desk \\x1b\[2J process 12 runs"):
            second.lock("ben")
        first.close()
        second.lock("ben")
    assert left(device) == []


def test_lock_of_a_dead_holder_is_taken(device):
    lock = Path(device.folder, "edgekit.lock")
    lock.mkdir()
    (lock / "guardian").write_text("999999999\n")
    with transports.connect(device) as connection:
        connection.lock("anna")
        assert (lock / "holder").read_text() == "anna\n"
    assert left(device) == []


@pytest.fixture
def hasty(monkeypatch):
    """Signs of life every 0.2 s; given up after 1 s."""
    for name, value in {"BEAT": 0.2, "DEAD": 1.0, "GRACE": 1.0}.items():
        monkeypatch.setattr(_session, name, value)


def silence(connection) -> None:
    """Cut the line: nothing more reaches the guardian, and nothing of it is heard."""
    guardian = connection._guardian
    guardian.write = lambda _data: None
    guardian.read = lambda timeout: time.sleep(timeout)


def test_lost_link_ends_the_run_here_and_there(device, hasty):
    lines = []
    connection = transports.connect(device)
    connection.lock("anna")

    def cut(line):
        lines.append(line)
        silence(connection)

    with pytest.raises(LinkLostError, match="while it ran sh"):
        connection.run(["sh", "-c", "ps -o pgid= -p $$; sleep 300"], timeout=60, on_line=cut)
    assert gone(int(lines[0]))
    until = time.monotonic() + 10
    while left(device) and time.monotonic() < until:
        time.sleep(0.1)
    assert left(device) == []
    connection.close()


def test_host_that_dies_leaves_nothing(device, hasty):
    program = (
        "import os, sys, edgekit.transports as t; from edgekit.transports import _session as s;"
        "s.BEAT, s.DEAD, s.GRACE = 0.2, 1.0, 1.0;"
        "from edgekit.devices import Device;"
        "c = t.connect(Device('here', 'local', folder=sys.argv[1])); c.lock('x');"
        "c.run(['sh', '-c', 'ps -o pgid= -p $$; sleep 300'], timeout=60,"
        " on_line=lambda line: (print(line, flush=True), os.kill(os.getpid(), 9)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, device.folder],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": device.folder},
    )
    assert gone(int(done.stdout))
    until = time.monotonic() + 10
    while left(device) and time.monotonic() < until:
        time.sleep(0.1)
    assert left(device) == []


def test_push_goes_on_after_the_link_was_lost(device, hasty, tmp_path, monkeypatch):
    local = tmp_path / "big"
    local.write_bytes(os.urandom(300_000))
    with transports.connect(device) as connection:
        space, sent = connection.workspace, []
        plain = connection._open_link

        def faulty_send(path, remote, done):
            Path(remote).write_bytes(local.read_bytes()[:100_000])
            silence(connection)
            raise OSError("broken pipe")

        def again(device):
            link = plain(device)
            real = link.send
            link.send = lambda path, remote, done: (sent.append(done), real(path, remote, done))
            return link

        monkeypatch.setattr(connection, "_open_link", again)
        connection._link.send = faulty_send
        monkeypatch.setattr(connection._lost, "wait", lambda _s: connection._lost.set() or True)
        remote = connection.push(local, "model")
        assert Path(remote).read_bytes() == local.read_bytes()
        assert connection.workspace == space
        assert sent == [100_000]
        assert connection.run(["echo", "on"], timeout=10).stdout == "on\n"
    assert left(device) == []


def test_damaged_part_is_sent_anew(device, tmp_path):
    local = tmp_path / "big"
    local.write_bytes(os.urandom(300_000))
    with transports.connect(device) as connection:
        from edgekit.hashing import sha256_of

        part = Path(connection.workspace) / f".part-{sha256_of(local)[:16]}"
        part.write_bytes(b"\0" * 1000)
        assert Path(connection.push(local, "model")).read_bytes() == local.read_bytes()


def test_missing_file_is_named(device, tmp_path):
    missing = pytest.raises(DeviceError, match=r"no file .*/nothing on device 'here'")
    with transports.connect(device) as connection, missing:
        connection.pull("nothing", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DeviceError, match="No workspace could be made on device 'here'"):
        transports.connect(Device("here", "local", folder=str(tmp_path / "none")))


def test_killed_shell_is_told_from_a_lost_link(device):
    with transports.connect(device) as connection:
        with pytest.raises(DeviceError, match="killed our shell") as caught:
            connection.run(["sh", "-c", "kill -s KILL $(ls .running)"], timeout=30)
        assert not isinstance(caught.value, LinkLostError)
        assert connection.run(["sh", "-c", "kill -s KILL $$"], timeout=30).returncode == 137
