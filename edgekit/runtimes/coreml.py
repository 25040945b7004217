"""Core ML models in Core ML itself, which is part of macOS.

Written from coremltools' documentation and never run by its authors, who have no Mac: the contract
suite is what to run first on one.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import UnavailableError, UsageError
from edgekit.runtimes import Arrays, Engine
from edgekit.runtimes._vendor import failure, missing, version_of
from edgekit.tensors import Dim, DType, Shape, Signature, TensorSpec
from edgekit.wire.mlprogram import Feature, read_model

FORMATS = ("coreml",)
RANK = 10
NOTE = "Core ML chooses its own threads: the threads setting has no effect."


def unavailable() -> UnavailableError | None:
    """Return why Core ML cannot run here; None when it can."""
    if platform.system() != "Darwin":
        return UnavailableError("Core ML is part of macOS, and this is not a Mac.")
    return missing("coremltools", "coremltools>=9")


def version() -> str:
    """Return the engine's name and version."""
    return version_of("Core ML through coremltools", "coremltools")


def load(path: Path, *, threads: int) -> Engine:  # noqa: ARG001  Core ML has no such setting
    """Open an ``.mlpackage`` or ``.mlmodel``, on all compute units."""
    return _CoreMLEngine(path)


class _CoreMLEngine:
    """A Core ML model as coremltools runs it."""

    def __init__(self, path: Path) -> None:
        interface = read_model(path).interface
        self._path = path
        self._signature = Signature(
            tuple(_spec(feature) for feature in interface.inputs),
            tuple(_spec(feature) for feature in interface.outputs),
        )
        import coremltools

        try:
            self._model: Any = coremltools.models.MLModel(str(path))
        except Exception as error:
            raise failure("Core ML cannot open", path, error) from error

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the model's description declares them."""
        return self._signature

    def infer(self, feeds: Arrays, watch: Sequence[str]) -> Arrays:
        """Run once; Core ML shows no values but the outputs."""
        outputs = {spec.name: spec.dtype.numpy() for spec in self._signature.outputs}
        hidden = [name for name in watch if name not in outputs]
        if hidden:
            raise UsageError(
                f"Core ML does not show the inner values {', '.join(hidden)}.",
                "The runtime 'mil' does.",
            )
        try:
            found = self._model.predict(feeds)
        except Exception as error:
            raise failure("Core ML failed while running", self._path, error) from error
        return {name: np.array(found[name], dtype) for name, dtype in outputs.items()}

    def close(self) -> None:
        """Free the model."""
        del self._model


def _spec(feature: Feature) -> TensorSpec:
    if feature.dtype is None:
        raise UsageError(f"{feature.name!r} is {feature.kind}, and edgekit runs arrays only.")
    return TensorSpec(feature.name, DType(feature.dtype), _shape(feature))


def _shape(feature: Feature) -> Shape:
    """Return the shape, an axis that ranges or choices let vary as a dimension with bounds."""
    sizes = list(feature.ranges)
    if feature.choices:
        sizes = [(min(axis), max(axis)) for axis in zip(*feature.choices, strict=True)]
    if not sizes:
        return feature.shape
    return tuple(
        low if low == high else Dim(f"{feature.name}_{axis}", low, high)
        for axis, (low, high) in enumerate(sizes)
    )
