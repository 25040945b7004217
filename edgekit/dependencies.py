"""Which files a piece of code reads: what a cached result must be checked against.

Python announces every file that it opens to its audit hooks.  safetensors opens files in native
code, unannounced, so its door is watched by hand.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

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
            for patch in _watch_safetensors():
                stack.enter_context(patch)
            yield found
    finally:
        names, _recording = _recording, None
        found.update(path for path in map(_source_of, names) if _counts(path))


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
        _recording.add(os.fsdecode(path))


def _watch_safetensors() -> list[Any]:
    import safetensors
    import safetensors.torch

    def watched(filename: Any, *args: Any, **kwargs: Any) -> Any:
        if _recording is not None:
            _recording.add(os.fsdecode(filename))
        return original(filename, *args, **kwargs)

    original = safetensors.safe_open
    return [
        mock.patch.object(module, "safe_open", watched)
        for module in (safetensors, safetensors.torch)
    ]


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
    own = str(Path(__file__).parent)
    ours = str(path).startswith((sys.prefix, sys.base_prefix, own, "/proc/", "/sys/", "/dev/"))
    return not ours and "site-packages" not in path.parts and path.is_file()
