"""edgekit: one trained PyTorch model in; verified Core ML, TFLite and ONNX artifacts out.

Importing this imports nothing heavy: each name below is loaded on first use.  Modules are nouns and
functions are verbs, so ``edgekit.convert`` is always the function.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgekit.api import benchmark, compare, convert, export, inspect, open, verify  # noqa: A004
    from edgekit.artifact import Artifact
    from edgekit.benchmarks import BenchmarkRecord
    from edgekit.conversion import ConvertReport, FormatResult
    from edgekit.errors import EdgekitError
    from edgekit.inspection import Inspection
    from edgekit.packaging import Package, package
    from edgekit.program import Program
    from edgekit.recipe import Recipe
    from edgekit.runtimes import Session
    from edgekit.target import Target, load_target
    from edgekit.tensors import Dim, DType, Signature, TensorSpec
    from edgekit.verification import Verification

_HOME = {
    "api": ("benchmark", "compare", "convert", "export", "inspect", "open", "verify"),
    "artifact": ("Artifact",),
    "benchmarks": ("BenchmarkRecord",),
    "conversion": ("ConvertReport", "FormatResult"),
    "errors": ("EdgekitError",),
    "inspection": ("Inspection",),
    "packaging": ("Package", "package"),
    "program": ("Program",),
    "recipe": ("Recipe",),
    "runtimes": ("Session",),
    "target": ("Target", "load_target"),
    "tensors": ("DType", "Dim", "Signature", "TensorSpec"),
    "verification": ("Verification",),
}
__all__ = ["__version__"] + [name for names in _HOME.values() for name in names]


def __getattr__(name: str) -> Any:
    for home, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"edgekit.{home}"), name)
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
