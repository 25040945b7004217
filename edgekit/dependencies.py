"""Which files a piece of code reads: what a cached result must be checked against.

Python announces every file that it opens to its audit hooks.  safetensors and torch's archive
reader open files in native code, unannounced, so their doors are watched by hand.  A module that
was imported before is not opened again, so the user's own modules count whenever they were loaded.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from edgekit.blame import is_users

_recording: set[str] | None = None


@contextmanager
def recorded() -> Iterator[set[Path]]:
    """Collect the files read inside the block; the set is filled when the block ends.

    Left out: the interpreter, installed packages and edgekit itself (their versions and code are
    part of every cache key), what is not a regular file, and what no longer exists at the end.
    """
    global _recording
    _install_hook()
    found: set[Path] = set()
    _recording = set()
    try:
        with ExitStack() as stack:
            for patch in (*_watch_safetensors(), *_watch_torch()):
                stack.enter_context(patch)
            yield found
    finally:
        names, _recording = _recording, None
        files = {*map(_source_of, names), *_loaded_modules()}
        found.update(path for path in files if _counts(path))


def note(path: Path) -> None:
    """Count a file as read, for readers that neither Python nor this module can see."""
    if _recording is not None:
        _recording.add(str(path.absolute()))


@cache
def _install_hook() -> None:
    sys.addaudithook(_on_event)  # a hook cannot be removed: it stays, and does nothing


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    if _recording is None or event != "open":
        return
    path, mode, flags = args
    writes = (isinstance(mode, str) and not mode.startswith("r")) or (
        isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
    )
    if isinstance(path, (str, bytes)) and not writes:
        # absolute now: the code may change its folder
        _recording.add(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - no Path per opening


def _watched(original: Callable[..., Any]) -> Callable[..., Any]:
    def watched(filename: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(filename, (str, bytes, os.PathLike)):
            note(Path(os.fsdecode(filename)))
        return original(filename, *args, **kwargs)

    return watched


def _watch_safetensors() -> list[Any]:
    """Patch ``safe_open`` in every loaded module that has taken it from safetensors."""
    import safetensors
    import safetensors.torch

    original = safetensors.safe_open
    holders = [
        module
        for module in list(sys.modules.values())
        if getattr(module, "__dict__", {}).get("safe_open") is original
    ]
    return [mock.patch.object(module, "safe_open", _watched(original)) for module in holders]


def _watch_torch() -> list[Any]:
    """Patch torch's archive reader, which ``torch.export.load`` and ``torch.jit.load`` use."""
    import torch

    return [
        mock.patch.object(holder, name, _watched(getattr(holder, name)))
        for holder, name in ((torch._C, "PyTorchFileReader"), (torch.jit, "load"))  # noqa: SLF001
    ]


def _loaded_modules() -> Iterator[Path]:
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str):
            yield _source_of(file)


def _source_of(name: str) -> Path:
    """Return the absolute path; for compiled Python, that of its source."""
    path = Path(name).absolute()
    if path.suffix == ".pyc":
        try:
            return Path(importlib.util.source_from_cache(str(path)))
        except ValueError:
            return path
    return path


def _counts(path: Path) -> bool:
    system = str(path).startswith(("/proc/", "/sys/", "/dev/"))
    return not system and is_users(str(path)) and path.is_file()
