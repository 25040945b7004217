"""An ML Program made ready to run: names become slots of a flat list, constants become tensors.

`Compiler` decodes constants once, computes the ``constexpr_*`` operations (which expand compressed
weights), refuses what has no kernel, and finds each value's last use so that it is freed there.  A
nested block of a control-flow operation shares the slots of the function around it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from edgekit.errors import ArtifactError, EdgekitError, UnavailableError
from edgekit.mil import kernels
from edgekit.mil.kernels import Context, Kernel
from edgekit.mil.values import Precision, constant, settle
from edgekit.wire.mlprogram import Block, Function, Operation, StateType, TensorType
from edgekit.wire.mlprogram import Value as Constant

RunValue = Any  # Tensor | str | list: what kernels take and give
State = dict[str, Tensor]
RunBlock = Callable[[int, list[RunValue]], list[RunValue]]
_VARIADIC = {"values", "loop_vars", "elem_shape", "ref_tensors", "begins", "ends", "end_masks"}
_MAX_ELEMENTS = 1 << 31
_KERNEL_FAULTS = (
    RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError,
    AssertionError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One operation, ready to run.

    Attributes:
        operation: What the program says.
        kernel: What computes it.
        wants_context: Whether the kernel takes a `Context`.
        fixed: Inputs that are constants, by name.
        bound: Inputs that are values of the run: (name, slot), or (name, slots) for a list.
        outputs: Slots of the results.
        blocks: Nested blocks.
        freed: Slots that nothing reads after this step.
    """

    operation: Operation
    kernel: Kernel
    wants_context: bool
    fixed: Mapping[str, RunValue]
    bound: tuple[tuple[str, int | tuple[int, ...]], ...]
    outputs: tuple[int, ...]
    blocks: tuple[Code, ...]
    freed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Code:
    """A compiled block: slots of its inputs and outputs, and its steps."""

    inputs: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]


class Compiler:
    """Compiles one function at one precision.

    Attributes:
        names: Slot of each name; of a name that two blocks define, the later one's.
        constants: Values that are the same in every run, by slot.
        inputs: Slots of the function's inputs.
        code: The function's block.
        size: Number of slots.
    """

    def __init__(self, function: Function, precision: Precision) -> None:
        _refuse_unknown(function.block)
        self._opset = function.opset
        self._precision: Precision = precision
        self.size = 0
        self.names: dict[str, int] = {}
        self.constants: dict[int, RunValue] = {}
        scope: dict[str, int] = {}
        self.inputs = [self._define(scope, item.name) for item in function.inputs]
        for item, slot in zip(function.inputs, self.inputs, strict=True):
            if isinstance(item.type, StateType):  # kernels know a state by its name
                self.constants[slot] = item.name
        self.code = self._block(function.block, scope, first=0)

    def _define(self, scope: dict[str, int], name: str) -> int:
        slot = self._anonymous()
        scope[name] = self.names[name] = slot
        return slot

    def _anonymous(self) -> int:
        self.size += 1
        return self.size - 1

    def _block(self, block: Block, outer: Mapping[str, int], first: int) -> Code:
        """Compile a block; it may free slots from `first` on, those before are an outer block's."""
        scope = dict(outer)
        inputs = tuple(self._define(scope, item.name) for item in block.inputs)
        steps: list[Step] = []
        for operation in block.operations:
            if operation.type == "const":
                slot = self._define(scope, _single_output(operation))
                self.constants[slot] = _constant(operation)
                continue
            step = self._step(operation, scope)
            if operation.type.startswith("constexpr_") and not step.bound:
                results = compute(step, dict(step.fixed), self._precision, self._opset)
                self.constants.update(zip(step.outputs, results, strict=True))
            else:
                steps.append(step)
        outputs = tuple(_lookup(scope, name) for name in block.outputs)
        keep = {*outputs, *self.constants, *range(first)}
        return Code(inputs, tuple(_with_frees(steps, keep)), outputs)

    def _step(self, operation: Operation, scope: dict[str, int]) -> Step:
        kernel = kernels.table()[operation.type]
        fixed: dict[str, RunValue] = {
            name: constant(value) for name, value in operation.attributes.items()
        }
        bound: list[tuple[str, int | tuple[int, ...]]] = []
        for name, bindings in operation.inputs.items():
            slots = tuple(self._slot(scope, binding) for binding in bindings)
            single = name not in _VARIADIC and len(slots) == 1
            if all(slot in self.constants for slot in slots):
                values = [self.constants[slot] for slot in slots]
                fixed[name] = values[0] if single else values
            else:
                bound.append((name, slots[0] if single else slots))
        wants_context = _check(operation, kernel, {*fixed, *(name for name, _ in bound)})
        blocks = tuple(self._block(nested, scope, first=self.size) for nested in operation.blocks)
        outputs = tuple(self._define(scope, item.name) for item in operation.outputs)
        return Step(operation, kernel, wants_context, fixed, tuple(bound), outputs, blocks)

    def _slot(self, scope: Mapping[str, int], binding: str | Constant) -> int:
        if isinstance(binding, str):
            return _lookup(scope, binding)
        slot = self._anonymous()
        self.constants[slot] = constant(binding)
        return slot


def compute(
    step: Step,
    arguments: dict[str, RunValue],
    precision: Precision,
    opset: str,
    state: State | None = None,
    run_block: RunBlock | None = None,
) -> list[RunValue]:
    """Call a step's kernel, and settle its results to the types that the program declares.

    Raises:
        EdgekitError: the kernel failed, or gave something else than declared; the message names
            the operation.
    """
    outputs = step.operation.outputs
    if step.wants_context:
        arguments["context"] = Context(
            run_block or partial(_no_block, step.operation),
            {} if state is None else state,
            tuple(out.type for out in outputs if isinstance(out.type, TensorType)),
            opset,
            step.operation.name,
        )
    try:
        result = step.kernel(**arguments)
        results = list(result) if isinstance(result, tuple) else [result]
        return [
            settle(value, out.type, precision)
            if isinstance(value, Tensor) and isinstance(out.type, TensorType)
            else value
            for value, out in zip(results, outputs, strict=True)
        ]
    except EdgekitError as error:
        raise type(error)(_failure(step.operation, error.message), error.hint) from None
    except _KERNEL_FAULTS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArtifactError(_failure(step.operation, reason)) from error


def _no_block(operation: Operation, index: int, _inputs: list[RunValue]) -> list[RunValue]:
    raise ArtifactError(_failure(operation, f"it has no block {index}"))


def _refuse_unknown(block: Block) -> None:
    """Raise UnavailableError when a block uses operations that have no kernel."""
    known = {*kernels.table(), "const"}
    missing = sorted({op.type for op in _all_operations(block)} - known)
    if missing:
        subject = f"op {missing[0]} is" if len(missing) == 1 else f"ops {', '.join(missing)} are"
        raise UnavailableError(f"{subject} not in the reference runtime")


def _all_operations(block: Block) -> Iterator[Operation]:
    for operation in block.operations:
        yield operation
        for nested in operation.blocks:
            yield from _all_operations(nested)


def _check(operation: Operation, kernel: Kernel, given: set[str]) -> bool:
    """Check what an operation gives and declares; return whether its kernel wants a context."""
    parameters = inspect.signature(kernel).parameters
    extra = sorted(given - set(parameters))
    if extra:
        raise UnavailableError(
            f"op {operation.type} with input {', '.join(extra)} is not in the reference runtime"
        )
    for output in operation.outputs:
        if isinstance(output.type, TensorType) and (output.type.elements or 0) > _MAX_ELEMENTS:
            raise ArtifactError(
                _failure(operation, f"{output.type} is larger than any real tensor")
            )
    needed = {name for name, p in parameters.items() if p.default is inspect.Parameter.empty}
    missing = sorted(needed - given - {"context"})
    if missing:
        raise ArtifactError(_failure(operation, f"it lacks its input {', '.join(missing)}"))
    return "context" in parameters


def _with_frees(steps: list[Step], keep: set[int]) -> Iterator[Step]:
    """Return the steps, each with the slots that no later one reads."""
    done: list[Step] = []
    seen = set(keep)
    for step in reversed(steps):
        freed = {*_reads(step), *step.outputs} - seen
        seen |= freed
        done.append(replace(step, freed=tuple(sorted(freed))))
    return reversed(done)


def _reads(step: Step) -> set[int]:
    """Return the slots that a step and its nested blocks read."""
    slots: set[int] = set()
    for _, slot in step.bound:
        slots.update((slot,) if isinstance(slot, int) else slot)
    for code in step.blocks:
        slots.update(code.outputs)
        for nested in code.steps:
            slots |= _reads(nested)
    return slots


def _constant(operation: Operation) -> RunValue:
    value = operation.attributes.get("val")
    if value is None:
        raise ArtifactError(_failure(operation, "it holds no value"))
    return constant(value)


def _single_output(operation: Operation) -> str:
    if len(operation.outputs) != 1:
        raise ArtifactError(_failure(operation, f"it has {len(operation.outputs)} outputs"))
    return operation.outputs[0].name


def _lookup(scope: Mapping[str, int], name: str) -> int:
    if name not in scope:
        raise ArtifactError(f"The ML Program uses {name!r} before it defines it.")
    return scope[name]


def _failure(operation: Operation, reason: str) -> str:
    return f"Operation {operation.name!r} ({operation.type}) failed: {reason.rstrip('.')}."
