"""Devices: found in edgekit.toml, named by address, shown without letting them draw."""

import json

import pytest
from click.testing import CliRunner

from edgekit.cli import cli, main
from edgekit.devices import Device, devices, load_device
from edgekit.errors import DeviceError, UnknownNameError, UsageError
from edgekit.probing import Answer, emulator, probe
from edgekit.reports import devices as report
from edgekit.text import printable

LISTED = """
[devices.desk-pi]
target = "raspberry-pi-5"
transport = "SSH"
address = "pi@raspberrypi.local"

[devices."it's $(x)\\u001b[2J"]
transport = "local"
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("edgekit.transports.local._Local.folder", str(tmp_path))


def test_both_files_are_read_and_the_nearer_wins(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/edgekit.toml").write_text(
        LISTED + '[devices.phone]\ntransport = "adb"\naddress = "R58"\n'
    )
    (tmp_path / "edgekit.toml").write_text('[devices.phone]\ntransport = "adb"\naddress = "X"\n')
    assert devices()["phone"].address == "X"
    assert devices()["desk-pi"].transport == "ssh"
    assert load_device("desk_pi").address == "pi@raspberrypi.local"


@pytest.mark.parametrize(
    ("name", "transport", "address"),
    [
        ("pi@host", "ssh", "pi@host"),
        ("ssh:host", "ssh", "host"),
        ("adb:R58M", "adb", "R58M"),
        ("adb:10.0.0.2:5555", "adb", "10.0.0.2:5555"),
        ("local", "local", ""),
    ],
)
def test_addresses_need_no_file(name, transport, address):
    device = load_device(name, "pixel-8")
    assert (device.transport, device.address, device.target) == (transport, address, "pixel-8")


@pytest.mark.parametrize("name", ["ssh:-oProxyCommand=x", "ssh:", "-x@host", "a b@host"])
def test_what_is_no_address_is_refused(name):
    with pytest.raises(UsageError, match="no address"):
        load_device(name)


def test_unknown_names_get_the_nearest_or_the_forms(tmp_path):
    (tmp_path / "edgekit.toml").write_text(LISTED)
    with pytest.raises(UnknownNameError) as caught:
        load_device("deskpie")
    assert caught.value.hint.startswith("Did you mean 'desk-pi'? Or give an address: user@host")
    with pytest.raises(UsageError, match="'desk-pi' is a raspberry-pi-5, not a pixel-8"):
        load_device("desk-pi", "pixel-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[devices.x]\ntransprt = 'ssh'", "no key 'transprt'"),
        ("[devices.x]\naddress = 'y'", "transport is missing"),
        ("[devices.x]\ntransport = 'telnet'", "no transport named 'telnet'"),
        ("[devices.x]\ntransport = 'local'\ntarget = 'pixel'", "no target named 'pixel'"),
        ("[devices.x]\ntransport = 'ssh'", "no address"),
        ("[devices.x]\ntransport = 'local'\nport = '22'", "port must be a whole number"),
        ("devices = 3", "devices is not a table"),
        ("[devices]\nx = 3", "x is 3, not a table"),
    ],
)
def test_mistakes_are_named(tmp_path, text, said):
    (tmp_path / "edgekit.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        devices()


def test_command_probes_all_and_says_why_one_is_silent(tmp_path):
    (tmp_path / "edgekit.toml").write_text(
        LISTED + f'[devices.gone]\ntransport = "local"\nfolder = "{tmp_path}/none"\n'
    )
    result = CliRunner().invoke(cli, ["devices", "it's $(x)\x1b[2J", "gone"])
    assert "\x1b[2J" not in result.output
    assert "it's $(x)\\x1b[2J" in result.output
    assert "ready" in result.output
    assert "No workspace could be made on device 'gone'" in result.output
    data = json.loads(CliRunner().invoke(cli, ["devices", "--json", "--no-probe"]).output)
    assert [each["name"] for each in data][:2] == ["desk-pi", "it's $(x)\x1b[2J"]


def test_facts_of_this_machine_are_its_own():
    import os
    import platform

    (answer,) = probe([load_device("local")])
    assert answer.facts["architecture"] == platform.machine()
    assert int(answer.facts["cores"]) == os.cpu_count()
    assert "emulator" not in answer.facts


@pytest.mark.parametrize(
    ("machine", "kernel", "expected"),
    [
        ("aarch64", "x86_64", "an emulator on x86_64"),
        ("aarch64", "aarch64", None),
        ("armv7l", "aarch64", None),
        ("i686", "x86_64", None),
        ("x86_64", "aarch64", "an emulator on aarch64"),
        ("aarch64", "", None),
    ],
)
def test_emulators_are_seen_through(machine, kernel, expected):
    facts = {"architecture": machine, "kernel_architecture": kernel}
    assert emulator(Device("x", "ssh"), facts) == expected
    assert emulator(Device("x", "ssh", emulated=True), facts) is not None


HOSTILE = "a\x1b[2Jb\r\nc\x9b31m\u202e[bold]d[/bold]"


def test_devices_words_are_shown_as_they_are_and_do_nothing(capsys):
    from edgekit.cli import _options

    facts = dict.fromkeys(("model", "architecture", "cores", "memory_kib", "python"), HOSTILE)
    answer = Answer(Device(HOSTILE, "ssh", HOSTILE), facts)
    failed = Answer(Device("y", "ssh"), error=DeviceError(HOSTILE, HOSTILE))
    report.show([answer, failed], _options.out())
    report.explain([answer, failed], _options.err())
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert not set("\x1b\r\x9b\u202e") & set(text)
    assert printable("a\x1b[2Jb") in said.out
    assert "[bold]d[/bold]" in said.out


def test_error_door_lets_no_escape_sequence_through(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["inspect", f"{tmp_path}/\x1b[2Jx\r.onnx"])
    assert not set("\x1b\r") & set(capsys.readouterr().err)
