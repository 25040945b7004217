"""Putting finished files where the user wants them: whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from edgekit import cache
from edgekit.artifact import Artifact, sidecar_of, write_sidecar


def deliver(made: Artifact, folder: Path) -> Artifact:
    """Move an artifact and its companions to `folder`, write its sidecar, return it there."""
    placed = _place(made, folder, made.files)
    _remove(_rejected(placed.path))
    return placed


def reject(made: Artifact, folder: Path) -> Path:
    """Move an artifact that failed verification to ``<name>.rejected``; return that path."""
    aside = replace(made, path=_rejected(made.path))
    move(made.path, aside.path)
    return _place(aside, folder, [aside.path]).path


def _place(made: Artifact, folder: Path, files: list[Path]) -> Artifact:
    placed = replace(made, path=folder / made.path.name)
    write_sidecar(made)  # still among the drafts: a full disk is met before anything is in place
    for file in files:
        move(file, folder / file.name)
    made.sidecar.replace(placed.sidecar)
    return placed


def renamed(kept: Artifact, draft: Path) -> Artifact:
    """Copy an artifact out of the cache to `draft`, whose name may differ."""
    made = replace(kept, path=draft)
    for source, target in zip(kept.files, made.files, strict=True):
        cache.copy(source, target)
    return made


def _rejected(path: Path) -> Path:
    return path.with_name(path.name + ".rejected")


def move(source: Path, target: Path) -> None:
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
