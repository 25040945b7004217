"""Devices: the machines that artifacts are measured on, each an instance of a target.

They are listed in ``edgekit.toml``, in the working folder or in edgekit's config folder::

    [devices.desk-pi]
    target = "raspberry-pi-5"
    transport = "ssh"
    address = "pi@raspberrypi.local"
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import registry, schema
from edgekit.errors import UnknownNameError, UsageError
from edgekit.target import config_folder, load_target
from edgekit.text import printable

FILE = "edgekit.toml"


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        name: As its user calls it.
        transport: How it is reached: ``local``, ``ssh``, ``adb``.
        address: What the transport reaches it by: ``pi@raspberrypi.local``, or a serial number.
        target: Name of the target that it is an instance of; None when nobody said.
        port: Port of its SSH server, where ``~/.ssh/config`` does not say.
        identity: File of the private key to log in with, where ``~/.ssh/config`` does not say.
        folder: Folder on the device that workspaces are made in; None for the transport's own.
        python: Python to run the agent with.
        runner: Folder here with the native runner for the device and the runtimes' libraries; with
            it, the device needs no Python.
        emulated: Whether this is no real device: its times are then never shown as a device's.
    """

    name: str
    transport: str
    address: str = ""
    target: str | None = None
    port: int | None = None
    identity: str | None = None
    folder: str | None = None
    python: str = "python3"
    runner: str | None = None
    emulated: bool = False


_HERE = Device("local", "local", python=sys.executable)


def devices() -> dict[str, Device]:
    """Return the devices that the configuration lists, by name; the working folder's come first.

    Raises:
        UsageError: a file is not readable TOML, or a device in it is not well described.
    """
    found: dict[str, Device] = {}
    for path in (Path(FILE), config_folder() / FILE):
        for name, table in _tables(path).items():
            found.setdefault(name, _device(path, name, table))
    return found


def load_device(name: str, target: str | None = None) -> Device:
    """Return the device that `name` means.

    Args:
        name: A name from the configuration, ``local``, ``user@host`` or ``ssh:host`` or
            ``adb:serial``.
        target: What it is, where the configuration does not say.

    Raises:
        UnknownNameError: there is no such device.
        UsageError: the configuration says that it is another target.
    """
    known = devices()
    if name in known:
        found = known[name]
    elif name == "local":
        found = _HERE
    elif name.partition(":")[0] in registry.names("transports") and ":" in name:
        transport, _, address = name.partition(":")
        found = Device(name, transport, _address(address, name))
    elif "@" in name:
        found = Device(name, "ssh", _address(name, name))
    else:
        try:
            found = known[registry.match(name, (*known, "local"), "device")]
        except KeyError:
            found = _HERE
        except UnknownNameError as error:
            raise UnknownNameError(
                error.message,
                f"{error.hint} Or give an address: user@host, ssh:host or adb:serial.",
            ) from None
    if target is not None and found.target not in (None, target):
        raise UsageError(
            f"Device {name!r} is a {found.target}, not a {target}.", "Leave --target out."
        )
    return replace(found, target=found.target or target)


def find_device(name: str | None, target: str | None) -> Device:
    """Return the device of a name; without one, the only device that is of a target.

    Raises:
        UsageError: none is, or several are.
    """
    if name is not None:
        return load_device(name, target)
    fitting = [each for each in devices().values() if each.target == target]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(each.name for each in fitting)
        raise UsageError(f"Several devices are a {target}: {names}.", "Choose one with --device.")
    raise UsageError(
        f"No device in edgekit.toml is a {target}.",
        "List one there, or give its address: --device user@host; this machine is --device local.",
    )


def _address(text: str, name: str) -> str:
    if not text or text.startswith("-") or any(char.isspace() for char in text):
        raise UsageError(f"{name!r} is no address of a device.", "Give user@host, or adb:serial.")
    return text


def _tables(path: Path) -> Mapping[str, Any]:
    tables = schema.read_toml(path).get("devices", {}) if path.exists() else {}
    if not isinstance(tables, dict):
        raise UsageError(f"{path}: devices is not a table.", "Write [devices.NAME].")
    return tables


def _device(path: Path, name: str, table: Any) -> Device:
    where = f"{path}: devices.{printable(name)}"
    device = schema.build(Device, table, where, name=name)
    transport = registry.match(device.transport, registry.names("transports"), "transport")
    if transport != "local":
        _address(device.address, name)
    if device.target is not None:
        load_target(device.target)
    return replace(device, transport=transport)
