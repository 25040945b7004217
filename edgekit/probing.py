"""Ask devices what they are: with a shell alone, for a phone may have nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from edgekit import transports
from edgekit.devices import Device
from edgekit.errors import EdgekitError
from edgekit.transports import Connection

# One fact a line; what a device lacks it leaves out.
_FACTS = r"""
show() { [ -n "$2" ] && echo "$1 $2"; }
show architecture "$(uname -m)"
show system "$(uname -sr)"
show model "$(cat /proc/device-tree/model 2>/dev/null || cat /sys/firmware/devicetree/base/model \
    2>/dev/null || getprop ro.product.model 2>/dev/null)"
show soc "$(getprop ro.soc.model 2>/dev/null)"
show cores "$(grep -c '^processor' /proc/cpuinfo 2>/dev/null)"
while read -r key value _; do
    [ "$key" = MemTotal: ] && echo "memory_kib $value"
done < /proc/meminfo
show kernel_architecture "$(cat /proc/sys/kernel/arch 2>/dev/null)"
show emulator "$(cat /etc/edgekit-emulated 2>/dev/null)"
show python "$("$1" --version 2>&1)"
exit 0
"""
_FAMILIES = {"x86_64": "x86", "i386": "x86", "i686": "x86", "aarch64": "arm", "arm64": "arm"}

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Answer:
    """What a device said of itself, or why it did not.

    Attributes:
        device: Who was asked.
        facts: What it says, by name; its own words, which may be anything.
        error: Why it did not answer.
    """

    device: Device
    facts: dict[str, str] = field(default_factory=dict)
    error: EdgekitError | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "schema_version": SCHEMA_VERSION,
            **asdict(self.device),
            "facts": self.facts,
            "error": self.error and self.error.to_json(),
        }


def facts(connection: Connection, python: str = "python3") -> dict[str, str]:
    """Return what a device says of itself."""
    said = connection.run(["sh", "-c", _FACTS, "sh", python], timeout=60).stdout
    pairs = (line.partition(" ") for line in said.splitlines())
    return {name: value.strip("\0 ") for name, _, value in pairs if value.strip("\0 ")}


def emulator(device: Device, found: dict[str, str]) -> str | None:
    """Return what emulates a device, None for a real one.

    A kernel of another family than its programs can only be an emulator's host.
    """
    machine, kernel = found.get("architecture", ""), found.get("kernel_architecture", "")
    families = [_FAMILIES.get(each, each[:3]) for each in (machine, kernel)]
    if all(families) and families[0] != families[1]:
        return found.get("emulator", f"an emulator on {kernel}")
    return found.get("emulator") or ("an emulator" if device.emulated else None)


def probe(devices: Iterable[Device]) -> list[Answer]:
    """Ask devices what they are, all at once."""
    asked = list(devices)
    if not asked:
        return []
    with ThreadPoolExecutor(max_workers=min(8, len(asked))) as pool:
        return list(pool.map(_ask, asked))


def _ask(device: Device) -> Answer:
    try:
        with transports.connect(device) as connection:
            found = facts(connection, device.python)
    except EdgekitError as error:
        return Answer(device, error=error)
    what = emulator(device, found)
    return Answer(device, {**found, **({"emulator": what} if what else {})})
