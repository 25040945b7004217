"""What every runtime that wraps a vendor's package needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shlex
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.blame import first_line
from edgekit.errors import ArtifactError, UnavailableError

_STDERR = 2
_redirection = threading.RLock()


def missing(module: str, requirement: str) -> UnavailableError | None:
    """Return why `module` cannot be imported, without importing it; None when it can."""
    if importlib.util.find_spec(module) is not None:
        return None
    return UnavailableError(
        f"{module} is not installed.", f"pip install {shlex.quote(requirement)}"
    )


def version_of(title: str, *distributions: str) -> str:
    """Return "title x.y.z" with the version of the first of `distributions` that is installed."""
    for distribution in distributions:
        with suppress(importlib.metadata.PackageNotFoundError):
            return f"{title} {importlib.metadata.version(distribution)}"
    return f"{title} of unknown version"


def failure(deed: str, path: Path, error: BaseException, hint: str | None = None) -> ArtifactError:
    """Return a vendor's exception as one sentence: who failed to do what, to what, and why."""
    return ArtifactError(f"{deed} {path}: {first_line(error).rstrip('.')}.", hint)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings, and whatever native code or a logger writes to standard error meanwhile.

    Both belong to the whole process, so what other threads say is dropped too: wrap the shortest
    stretch of code that needs it.
    """
    with _redirection, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.stderr.flush()
        saved, sink = os.dup(_STDERR), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(sink, _STDERR)
            yield
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
            os.close(sink)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let PyTorch compute with so many threads, and put its own setting back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
