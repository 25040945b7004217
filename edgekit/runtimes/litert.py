"""TFLite files in LiteRT, today's name of TensorFlow Lite (package ai-edge-litert)."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import UnavailableError
from edgekit.runtimes import Engine
from edgekit.runtimes._interpreter import InterpreterEngine
from edgekit.runtimes._vendor import missing, version_of

FORMATS = ("tflite",)
RANK = 10
NOTE = None


def unavailable() -> UnavailableError | None:
    """Return why LiteRT cannot run here; None when it can."""
    return missing("ai_edge_litert", "ai-edge-litert")


def version() -> str:
    """Return the engine's name and version."""
    return version_of("LiteRT", "ai-edge-litert")


def load(path: Path, *, threads: int) -> Engine:
    """Open a TFLite file."""
    from ai_edge_litert.interpreter import Interpreter

    return InterpreterEngine(path, Interpreter, "LiteRT", threads)
