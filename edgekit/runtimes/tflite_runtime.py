"""TFLite files in tflite-runtime, the older package that many boards' images carry."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.errors import UnavailableError
from edgekit.runtimes import Engine
from edgekit.runtimes._interpreter import InterpreterEngine
from edgekit.runtimes._vendor import missing, version_of

FORMATS = ("tflite",)
RANK = 30
NOTE = "tflite-runtime is from 2023: newer operators are missing, and kernels are slower."


def unavailable() -> UnavailableError | None:
    """Return why tflite-runtime cannot run here; None when it can.

    Its last release was built for numpy 1: beside numpy 2 it imports, and then fails to open files.
    """
    absent = missing("tflite_runtime", "tflite-runtime")
    if int(np.__version__.partition(".")[0]) < 2:
        return absent
    clash = f"it needs numpy older than 2, and {np.__version__} is here."
    return UnavailableError(
        f"tflite_runtime is not installed, and {clash}" if absent else f"tflite_runtime: {clash}",
        'In an environment of its own: pip install tflite-runtime "numpy<2"',
    )


def version() -> str:
    """Return the engine's name and version."""
    return version_of("tflite-runtime", "tflite-runtime")


def load(path: Path, *, threads: int) -> Engine:
    """Open a TFLite file."""
    from tflite_runtime.interpreter import Interpreter

    return InterpreterEngine(path, Interpreter, "tflite-runtime", threads)
