"""What the kernel tests share: run one operation here, let coremltools fold it there, compare.

`run_op` executes a kernel through the real interpreter: the inputs become constants of a program of
one operation.  `fold` builds the same operation with coremltools, whose numpy `value_inference` is
Apple's own statement of what it computes.  `check` compares the two; a test file adds `Case`s.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch

from edgekit.mil.interpreter import Interpreter
from edgekit.wire.mlprogram import (
    Block,
    Function,
    ListType,
    Named,
    Operation,
    Packed,
    Program,
    TensorType,
    Value,
    ValueType,
)

VARIADIC = {"values", "loop_vars", "ref_tensors", "begins", "ends", "end_masks"}
OPSETS = {"iOS15": "CoreML5", "iOS16": "CoreML6", "iOS17": "CoreML7", "iOS18": "CoreML8"}
FOLDED: set[str] = set()  # operations that agreed with coremltools' folding in this process
RUN: set[str] = set()  # operations that a test ran for itself, to compare with a golden
SHAPES = [(), (3,), (2, 3), (2, 3, 4), (1, 2, 3, 4), (2, 1, 3, 1, 2)]


@dataclass(frozen=True)
class Case:
    """One operation with all its inputs.

    Attributes:
        op: MIL operation type.
        inputs: By MIL's names: arrays, Python numbers, bools, texts; lists for variadic inputs.
        opset: The op set to build it in.
        rtol: Largest error relative to the largest element of the expected output.
        sub_byte: Inputs whose uint8 or int8 elements are of a narrower type: name -> ``"uint4"``.
    """

    op: str
    inputs: dict[str, Any]
    opset: str = "iOS17"
    rtol: float = 1e-6
    sub_byte: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"{name}={_brief(value)}" for name, value in self.inputs.items()]
        return f"{self.op}({', '.join(parts)})"


def check(case: Case) -> None:
    """Assert that our kernel and coremltools' value inference agree on `case`."""
    expected, types = fold(case)
    results = _run(case.op, case.inputs, types, case.opset, "exact", case.sub_byte)
    assert len(results) == len(expected)
    for got, want in zip(results, expected, strict=True):
        assert_close(got, want, case.rtol, str(case))
    FOLDED.add(case.op)


def assert_close(got: Any, want: Any, rtol: float, what: str = "") -> None:
    """Assert equal shapes, equal integers, and floats within `rtol` of the largest element."""
    wanted = np.asarray(want)
    found = np.asarray(got)
    assert found.shape == wanted.shape, f"{what}: shape {found.shape}, expected {wanted.shape}"
    if wanted.dtype.kind != "f":
        assert np.array_equal(found, wanted), f"{what}:\n{found}\nexpected\n{wanted}"
        return
    finite = np.isfinite(wanted)
    scale = max(float(np.abs(wanted[finite]).max(initial=0.0)), 1e-30)
    np.testing.assert_array_equal(found[~finite], wanted[~finite], err_msg=what)
    error = float(np.abs(found[finite].astype(np.float64) - wanted[finite]).max(initial=0.0))
    assert error <= rtol * scale, f"{what}: off by {error / scale:.2e}\n{found}\nexpected\n{wanted}"


def fold(case: Case) -> tuple[list[Any], tuple[ValueType, ...]]:
    """Return what coremltools folds a case to, and the types that it gives the outputs."""
    mb, targets = _coremltools()
    captured: list[Any] = []

    def program(dummy: Any) -> Any:
        inputs = {name: _copied(value) for name, value in case.inputs.items()}
        outputs = getattr(mb, case.op)(**inputs)
        captured.extend(outputs if isinstance(outputs, tuple | list) else [outputs])
        return mb.identity(x=dummy)

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        spec = [mb.TensorSpec(shape=(1,))]
        mb.program(input_specs=spec, opset_version=getattr(targets, case.opset))(program)
        assert all(var.val is not None for var in captured), f"coremltools does not fold {case}"
        values = [np.asarray(var.val) for var in captured]
    names = [_builtin_name(var.dtype) for var in captured]
    types = tuple(TensorType(name, value.shape) for name, value in zip(names, values, strict=True))
    return values, types


def run_op(
    op: str,
    inputs: dict[str, Any],
    outputs: tuple[ValueType, ...],
    *,
    opset: str = "iOS17",
    precision: Any = "exact",
    sub_byte: dict[str, str] | None = None,
) -> list[Any]:
    """Run one operation on constants, through the interpreter; return arrays, texts or lists."""
    results = _run(op, inputs, outputs, opset, precision, sub_byte or {})
    RUN.add(op)
    return results


def _run(
    op: str,
    inputs: dict[str, Any],
    outputs: tuple[ValueType, ...],
    opset: str,
    precision: Any,
    sub_byte: dict[str, str],
) -> list[Any]:
    bound = {
        name: tuple(
            value_of(item, sub_byte.get(name)) for item in (given if name in VARIADIC else [given])
        )
        for name, given in inputs.items()
    }
    names = tuple(Named(f"out{index}", kind) for index, kind in enumerate(outputs))
    operation = Operation(op, op, bound, names, {}, ())
    block = Block((), (operation,), tuple(item.name for item in names))
    program = Program({"main": Function((), OPSETS[opset], block)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = Interpreter(program, precision=precision).run({})
    return [
        value.numpy() if isinstance(value, torch.Tensor) else value
        for value in (results[item.name] for item in names)
    ]


def kind(array: Any) -> TensorType:
    """Return the type of an array, as `run_op` wants its outputs declared."""
    found = np.asarray(array)
    return TensorType(found.dtype.name, found.shape)


def value_of(item: Any, dtype: str | None = None) -> Value:
    """Return a Python or numpy value as a constant of a program."""
    if isinstance(item, str):
        return Value(TensorType("string", ()), (item,))
    if isinstance(item, list) and item and isinstance(item[0], str):
        elements = tuple(value_of(text) for text in item)
        return Value(ListType(TensorType("string", ()), len(item)), elements)
    array = np.ascontiguousarray(item).reshape(np.shape(item))
    if not isinstance(item, np.ndarray | np.generic):
        array = array.astype({"f": np.float32, "i": np.int32, "b": np.bool_}[array.dtype.kind])
    if dtype is None:
        data = memoryview(bytearray(array.tobytes()))
        return Value(TensorType(array.dtype.name, array.shape), Packed(data, in_file=False))
    width = int(dtype.lstrip("uint"))
    planes = np.unpackbits(array.reshape(-1, 1).view(np.uint8), axis=1, bitorder="little")
    packed = np.packbits(planes[:, :width].reshape(-1), bitorder="little")
    data = memoryview(bytearray(packed.tobytes()))
    return Value(TensorType(dtype, array.shape), Packed(data, in_file=False))


def rng(*seed: Any) -> np.random.Generator:
    """Return a generator that depends on nothing but `seed`."""
    return np.random.default_rng([sum(map(ord, str(part))) for part in seed])


@cache
def _coremltools() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
        from coremltools.converters.mil import Builder
    return Builder, coremltools.target


def defined_ops() -> dict[str, str]:
    """Return the operations that coremltools' iOS15 to iOS18 op sets define, with their family.

    A family is the name of the file that defines the operation.
    """
    _coremltools()
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    return {
        name: next(iter(versions.values())).__module__.rpartition(".")[2]
        for name, versions in sorted(SSAOpRegistry.core_ops.items())
    }


def family_of(op: str) -> str:
    """Return the name of the coremltools file that defines an operation."""
    return defined_ops()[op]


def folded_ops() -> set[str]:
    """Return the operations of all op sets for which coremltools has a value inference."""
    _coremltools()
    from coremltools.converters.mil.mil.operation import Operation as Base
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    return {
        name
        for name, versions in SSAOpRegistry.core_ops.items()
        if any(found.value_inference is not Base.value_inference for found in versions.values())
    }


def _builtin_name(dtype: Any) -> str:
    from coremltools.converters.mil.mil import types

    short = types.builtin_to_string(dtype)
    return {"fp16": "float16", "fp32": "float32", "fp64": "float64", "str": "string"}.get(
        short, short
    )


def _copied(value: Any) -> Any:
    """Copy arrays: some of coremltools' inferences write into their inputs."""
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value.copy() if isinstance(value, np.ndarray) else value


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size > 6:
        return f"{value.dtype.name}{list(value.shape)}"
    return str(value.tolist() if isinstance(value, np.ndarray) else value)
