"""Devices: the machines that artifacts are measured on, each an instance of a target.

They are listed in ``edgekit.toml``, in the working folder or in edgekit's config folder::

    [devices.desk-pi]
    target = "raspberry-pi-5"
    transport = "ssh"
    address = "pi@raspberrypi.local"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.errors import UnknownNameError, UsageError

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
    emulated: bool = False


def config_folder() -> Path:
    """Return edgekit's config folder: ``$EDGEKIT_CONFIG``, else ``edgekit`` where XDG says."""
    given = os.environ.get("EDGEKIT_CONFIG")
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(given) if given else Path(base) / "edgekit"


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
        found = Device("local", "local")
    elif name.partition(":")[0] in registry.names("transports") and ":" in name:
        transport, _, address = name.partition(":")
        found = Device(name, transport, _address(address, name))
    elif "@" in name:
        found = Device(name, "ssh", _address(name, name))
    else:
        try:
            found = known[registry.match(name, (*known, "local"), "device")]
        except KeyError:
            found = Device("local", "local")
        except UnknownNameError as error:
            raise UnknownNameError(
                error.message,
                f"{error.hint} Or give an address: user@host, ssh:host or adb:serial.",
            ) from None
    if target is not None and found.target not in (None, target):
        raise UsageError(
            f"Device {name!r} is a {found.target}, not a {target}.", "Leave --target out."
        )
    return Device(**{**vars(found), "target": found.target or target})


def _address(text: str, name: str) -> str:
    if not text or text.startswith("-") or any(char.isspace() for char in text):
        raise UsageError(f"{name!r} is no address of a device.", "Give user@host, or adb:serial.")
    return text


@cache
def _keys() -> dict[str, str]:
    return {field.name: str(field.type) for field in fields(Device) if field.name != "name"}


def _tables(path: Path) -> Mapping[str, Any]:
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no readable TOML file: {error}.") from error
    tables = data.get("devices", {})
    if not isinstance(tables, dict):
        raise UsageError(f"{path}: devices is not a table.", "Write [devices.NAME].")
    return tables


def _device(path: Path, name: str, table: Any) -> Device:
    where = f"{path}: devices.{name}"
    if not isinstance(table, dict):
        raise UsageError(f"{where} is not a table.", f"Write [devices.{name}].")
    for key, value in table.items():
        if key not in _keys():
            registry.match(key, _keys(), f"key in {where}")  # raises, or was spelled otherwise
            raise UnknownNameError(f"{where}: unknown key {key}.", f"Known: {', '.join(_keys())}.")
        wanted = {"port": int, "emulated": bool}.get(key, str)
        if type(value) is not wanted:
            raise UsageError(f"{where}: {key} must be of type {wanted.__name__}.")
    if "transport" not in table:
        raise UsageError(f"{where} has no transport.", 'Write transport = "ssh".')
    registry.match(table["transport"], registry.names("transports"), "transport")
    device = Device(name, **table)
    if device.transport != "local":
        _address(device.address, name)
    return device
