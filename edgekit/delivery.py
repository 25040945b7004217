"""Putting finished files where the user wants them: whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from edgekit import cache
from edgekit.artifact import Artifact, sidecar_of, write_sidecar


def deliver(made: Artifact, folder: Path) -> Artifact:
    """Move an artifact and its companions to `folder`, write its sidecar, return it there."""
    placed = replace(made, path=folder / made.path.name)
    for source, target in zip(made.files, placed.files, strict=True):
        _move(source, target)
    _remove(_rejected(placed.path))
    write_sidecar(placed)
    return placed


def reject(made: Artifact, folder: Path) -> Path:
    """Move an artifact that failed verification to ``<name>.rejected``; return that path."""
    place = _rejected(folder / made.path.name)
    _move(made.path, place)
    write_sidecar(replace(made, path=place))
    return place


def renamed(kept: Artifact, draft: Path) -> Artifact:
    """Copy an artifact out of the cache to `draft`, whose name may differ."""
    made = replace(kept, path=draft)
    for source, target in zip(kept.files, made.files, strict=True):
        cache.copy(source, target)
    return made


def _rejected(path: Path) -> Path:
    return path.with_name(path.name + ".rejected")


def _move(source: Path, target: Path) -> None:
    """Rename a file or a folder over what is there; a folder's predecessor steps aside first."""
    if target.is_dir():
        aside = source.with_name(source.name + ".old")
        target.rename(aside)
        source.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        source.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    sidecar_of(path).unlink(missing_ok=True)
