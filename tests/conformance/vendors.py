"""The vendors' own converters, called as their documentation shows, for the figures beside ours.

Their artifacts are judged as gently as is honest: names are theirs, so tensors are matched by their
order; int64 and float64 may have become their 32-bit kin; a 0-d output may have one dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.errors import EdgekitError
from edgekit.program import Program
from edgekit.recipe import load_recipe
from edgekit.runtimes import Array, Session, open_session
from edgekit.tensors import TensorSpec
from edgekit.verification import FAILED, PASSED, Verification, judge

SUFFIXES = {"onnx": ".onnx", "tflite": ".tflite", "coreml": ".mlpackage"}
Inputs = tuple[torch.Tensor, ...]


def convert(
    module: torch.nn.Module, inputs: Inputs, program: Program, format_name: str, folder: Path
) -> Verification:
    """Convert with the vendor's converter and compare with the program's references."""
    path = folder / f"model{SUFFIXES[format_name]}"
    with torch.no_grad():
        CONVERTERS[format_name](module, inputs, str(path))
    try:
        with open_session(path, format_name) as session:
            return _judged(session, program)
    except EdgekitError as error:
        return Verification(FAILED, f"It does not run: {error.message}")


def _onnx(module: torch.nn.Module, inputs: Inputs, path: str) -> None:
    exported = torch.onnx.export(module, inputs, dynamo=True)
    assert exported is not None
    exported.save(path)


def _tflite(module: torch.nn.Module, inputs: Inputs, path: str) -> None:
    import litert_torch

    litert_torch.convert(module, inputs).export(path)


def _coreml(module: torch.nn.Module, inputs: Inputs, path: str) -> None:
    import coremltools as ct

    exported = torch.export.export(module, inputs).run_decompositions({})
    ct.convert(
        exported,
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    ).save(path)


CONVERTERS: dict[str, Callable[[torch.nn.Module, Inputs, str], Any]] = {
    "onnx": _onnx,
    "tflite": _tflite,
    "coreml": _coreml,
}


def _judged(session: Session, program: Program) -> Verification:
    """Run the artifact on every sample; match tensors by their order."""
    takes, gives = session.signature.inputs, session.signature.outputs
    wanted = program.signature.outputs
    if len(takes) > len(program.signature.inputs) or len(gives) != len(wanted):
        return Verification(FAILED, f"It has {len(takes)} inputs and {len(gives)} outputs.")
    found = []
    for sample in program.samples:
        arrays = list(sample.values())
        feeds = {
            spec.name: each.astype(spec.dtype.numpy())
            for spec, each in zip(takes, arrays, strict=False)
        }
        found.append(list(session.run(feeds).values()))
    tolerance = load_recipe("fp32").tolerance
    checks = tuple(
        judge(
            TensorSpec(spec.name, gives[index].dtype, spec.shape),
            [_shaped(outputs[index], spec) for outputs in found],
            [_narrow(reference[spec.name], gives[index]) for reference in program.references],
            tolerance,
        )
        for index, spec in enumerate(wanted)
    )
    bad = [f"{check.name}: {', '.join(check.reasons)}" for check in checks if not check.passed]
    status = FAILED if bad else PASSED
    return Verification(status, "; ".join(bad), samples=len(found), outputs=checks)


def _shaped(value: Array, spec: TensorSpec) -> Array:
    return value.reshape(()) if not spec.shape and value.size == 1 else value


def _narrow(reference: Array, given: TensorSpec) -> Array:
    same_kind = np.can_cast(reference.dtype, given.dtype.numpy(), "same_kind")
    return reference.astype(given.dtype.numpy()) if same_kind else reference
