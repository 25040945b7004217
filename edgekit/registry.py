"""Plugins by name: a file in the kind's folder, or a third party's entry point.

A kind is a sub-package of edgekit (``formats``, ``runtimes``, ...).  A plugin's name is its file's
name; listing names imports nothing.  Other packages add plugins with an entry point in the group
``edgekit.<kind>``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Iterable
from functools import cache
from types import ModuleType

from edgekit.errors import UnknownNameError


@cache
def _sources(kind: str) -> dict[str, str]:
    """Map each plugin name of `kind` to the module that holds it."""
    package = importlib.import_module(f"edgekit.{kind}")
    found = {
        info.name: f"{package.__name__}.{info.name}"
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_") and not info.ispkg
    }
    for entry in importlib.metadata.entry_points(group=f"edgekit.{kind}"):
        found.setdefault(entry.name, entry.value)
    return dict(sorted(found.items()))


def names(kind: str) -> tuple[str, ...]:
    """Return the names of all plugins of a kind, sorted, without importing any."""
    return tuple(_sources(kind))


def load(kind: str, name: str) -> ModuleType:
    """Import and return the plugin `name`; case and hyphens do not matter.

    Raises:
        UnknownNameError: no plugin bears that name; the hint offers the nearest.
    """
    return importlib.import_module(_sources(kind)[match(name, names(kind), kind.rstrip("s"))])


def load_all(kind: str) -> dict[str, ModuleType]:
    """Import every plugin of a kind, by name."""
    return {name: load(kind, name) for name in names(kind)}


def match(name: str, known: Iterable[str], what: str) -> str:
    """Return the member of `known` that `name` means, ignoring case, hyphens and underscores.

    Raises:
        UnknownNameError: nothing matches; the hint names the nearest or lists all.
    """
    by_folded = {_fold(candidate): candidate for candidate in known}
    found = by_folded.get(_fold(name))
    if found is not None:
        return found
    near = difflib.get_close_matches(_fold(name), by_folded, n=1)
    hint = (
        f"Did you mean {by_folded[near[0]]!r}?"
        if near
        else f"Known: {', '.join(sorted(set(by_folded.values())))}."
    )
    raise UnknownNameError(f"There is no {what} named {name!r}.", hint)


def _fold(name: str) -> str:
    return name.strip().casefold().replace("-", "").replace("_", "")
