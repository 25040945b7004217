"""A private environment on a board that has no internet: wheels come from here.

pip downloads them on the host for the board's platform.  They are unpacked on the board into a
folder of their own, which the agent gets as PYTHONPATH; a wheel is an archive of what an import
needs, so the board needs no pip.  The folder stays, named by its content, for the next run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit import cache, worker
from edgekit.devices import Device
from edgekit.errors import ConversionError, DeviceError, UnavailableError
from edgekit.hashing import sha256_of
from edgekit.text import printable
from edgekit.transports import Connection

_TOO = {"tflite-runtime": ("numpy<2",)}  # built for numpy 1; with 2 it imports, and then fails
_ASK = """
import json, os, platform, sys
cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
print(json.dumps({"python": list(sys.version_info[:2]), "machine": platform.machine(),
    "wide": sys.maxsize > 2**32, "libc": platform.libc_ver(), "cache": cache}))
"""
_UNPACK = """
import os, shutil, sys, zipfile
site, final, *wheels = sys.argv[1:]
for wheel in wheels:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    os.remove(wheel)
for data in [name for name in os.listdir(site) if name.endswith(".data")]:
    for part in ("purelib", "platlib"):
        if os.path.isdir(os.path.join(site, data, part)):
            shutil.copytree(os.path.join(site, data, part), site, dirs_exist_ok=True)
os.makedirs(os.path.dirname(final), exist_ok=True)
draft = final + ".draft"
shutil.rmtree(draft, ignore_errors=True)
shutil.move(site, draft)
os.rename(draft, final)
"""


def environment(connection: Connection, device: Device, package: str) -> dict[str, str]:
    """Make sure that a device has a package; return the variables that let its Python find it.

    Raises:
        UnavailableError: there are no wheels of the package for the device.
        DeviceError: they cannot be unpacked there.
    """
    about = _platform(connection, device)
    wheels = _wheels(package, about)
    names = "".join(f"{wheel.name} {sha256_of(wheel)}\n" for wheel in wheels)
    key = hashlib.sha256(names.encode()).hexdigest()[:16]
    final = PurePosixPath(about["cache"]) / "edgekit" / f"{package}-{key}"
    if connection.run(["test", "-d", str(final)], timeout=60).returncode != 0:
        pushed = [str(connection.push(wheel, wheel.name)) for wheel in wheels]
        site = str(connection.workspace / "site")
        command = [device.python, "-c", _UNPACK, site, str(final), *pushed]
        done = connection.run(command, timeout=900)
        if done.returncode != 0:
            said = printable(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "")
            raise DeviceError(
                f"{package} could not be unpacked on device {printable(device.name)!r}: {said}."
            )
    return {"PYTHONPATH": str(final)}


def _platform(connection: Connection, device: Device) -> dict[str, Any]:
    """Return what decides which wheels fit, checked: it names files here."""
    done = connection.run([device.python, "-c", _ASK], timeout=60)
    try:
        about = json.loads(done.stdout)
        major, minor = map(int, about["python"])
        name, version = map(str, about["libc"])
        machine = str(about["machine"])
        if not about["wide"]:
            machine = {"aarch64": "armv7l", "x86_64": "i686"}.get(machine, machine)
        if name != "glibc" or machine not in ("aarch64", "armv7l", "i686", "x86_64"):
            what = printable(f"{machine} with {name or 'its C library'}")
            raise UnavailableError(
                f"There are no wheels for {what}.",
                "Install the runtime there by its own way, and leave --provision out.",
            )
        return {
            "python": (major, minor),
            "machine": machine,
            "glibc": int(version.split(".")[1]),
            "cache": str(about["cache"]),
        }
    except (ValueError, KeyError, TypeError, IndexError):
        raise DeviceError(
            f"The Python of device {printable(device.name)!r} does not say what it is: "
            f"{printable((done.stderr or done.stdout).strip()[-200:])}."
        ) from None


def _wheels(package: str, about: dict[str, Any]) -> list[Path]:
    """Return the wheels of a package and all that it needs, for a platform; downloaded once."""
    words = [package, *map(str, about["python"]), about["machine"], str(about["glibc"])]
    folder = cache.folder() / "wheels" / "-".join(words)
    if folder.is_dir():
        return sorted(folder.glob("*.whl"))
    try:
        versions = [f"{package}=={importlib.metadata.version(package)}", package]
    except importlib.metadata.PackageNotFoundError:
        versions = [package]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
        for requirement in versions:  # as on this host, where that version is to be had
            said = _download(requirement, package, about, Path(draft))
            if said.code == 0:
                whole = Path(draft, "whole")  # a run beside us finds all of them, or none
                whole.mkdir()
                for wheel in Path(draft).glob("*.whl"):
                    wheel.rename(whole / wheel.name)
                with contextlib.suppress(OSError):  # that run was quicker
                    whole.rename(folder)
                return sorted(folder.glob("*.whl"))
    python = ".".join(map(str, about["python"]))
    last = said.output.strip().splitlines()[-1:] or [""]
    raise UnavailableError(
        f"pip finds no wheels of {package} for Python {python} on {about['machine']} with "
        f"glibc 2.{about['glibc']}: {printable(last[0])}",
        "Is this host on the internet?",
    )


def _download(requirement: str, package: str, about: dict[str, Any], folder: Path) -> worker.Said:
    major, minor = about["python"]
    machine = about["machine"]
    platforms = [f"manylinux_2_{n}_{machine}" for n in range(about["glibc"], 16, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder)]
    command += ["--python-version", f"{major}.{minor}", "--implementation", "cp"]
    for abi in (f"cp{major}{minor}", "abi3", "none"):
        command += ["--abi", abi]
    for platform in platforms:
        command += ["--platform", platform]
    try:
        return worker.run_tool([*command, requirement, *_TOO.get(package, ())], folder, timeout=900)
    except ConversionError as error:
        return worker.Said(1, error.message)
