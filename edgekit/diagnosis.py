"""What works on this machine, and the line that installs what does not."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any

from edgekit import __version__, cache, registry
from edgekit.errors import UnavailableError
from edgekit.recipe import recipes

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """One plugin: whether it works here, in which versions, or why not and what to do.

    Attributes:
        kind: ``format`` or ``runtime``.
        name: The plugin's name.
        works: Whether it can be used here.
        versions: Of the packages behind it, when it works.
        reason: Why it cannot be used.
        remedy: What to do about it.
        note: What must be known of it.
    """

    kind: str
    name: str
    works: bool
    versions: str = ""
    reason: str = ""
    remedy: str = ""
    note: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and the facts of the machine."""

    findings: tuple[Finding, ...]
    machine: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "machine": self.machine,
            "findings": [vars(finding) for finding in self.findings],
        }


def diagnose() -> Diagnosis:
    """Ask every format and every runtime whether it works here."""
    findings = [
        *(_format(name, module) for name, module in registry.load_all("formats").items()),
        *(_runtime(name, module) for name, module in registry.load_all("runtimes").items()),
    ]
    machine = {
        "edgekit": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "recipes": ", ".join(recipes()),
        "cache": str(cache.folder()),
    }
    return Diagnosis(tuple(findings), machine)


def _format(name: str, module: Any) -> Finding:
    absent = module.unavailable()
    if absent is not None:
        return _broken("format", name, absent)
    versions = ", ".join(f"{package} {version}" for package, version in module.toolchain().items())
    return Finding("format", name, works=True, versions=versions)


def _runtime(name: str, module: Any) -> Finding:
    absent = module.unavailable()
    if absent is not None:
        return _broken("runtime", name, absent)
    what = f"{module.version()} (runs {', '.join(module.FORMATS)})"
    return Finding("runtime", name, works=True, versions=what, note=module.NOTE or "")


def _broken(kind: str, name: str, error: UnavailableError) -> Finding:
    return Finding(kind, name, works=False, reason=error.message, remedy=error.hint or "")
