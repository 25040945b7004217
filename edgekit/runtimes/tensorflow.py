"""TFLite files in TensorFlow's own interpreter, the only one with the Flex operators."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.errors import UnavailableError
from edgekit.runtimes import Engine
from edgekit.runtimes._interpreter import InterpreterEngine
from edgekit.runtimes._vendor import missing, quiet, version_of

FORMATS = ("tflite",)
RANK = 40
NOTE = "TensorFlow is not what ships on devices: its timings do not stand for theirs."


def unavailable() -> UnavailableError | None:
    """Return why TensorFlow cannot run here; None when it can."""
    return missing("tensorflow", "tensorflow")


def version() -> str:
    """Return the engine's name and version."""
    return version_of("TensorFlow", "tensorflow", "tensorflow-cpu")


def load(path: Path, *, threads: int) -> Engine:
    """Open a TFLite file."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import tensorflow
    return InterpreterEngine(path, tensorflow.lite.Interpreter, "TensorFlow", threads)
