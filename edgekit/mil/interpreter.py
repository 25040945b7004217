"""Executes an ML Program, operation by operation, with the kernels of `edgekit.mil.kernels`.

`Interpreter` compiles the program once: names become slots of a flat list, constants are decoded,
``constexpr_*`` operations (which expand compressed weights) are computed, and each value's last use
is found so that it is freed there.  A nested block of a control-flow operation shares the slots.

Two precisions.  ``"exact"`` rounds each float16 result to float16 and accumulates in float32, which
is what Core ML documents of its float16 backends; ``"float32"`` never rounds, and so tells the
error of a conversion apart from the error of float16.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, inference_mode

from edgekit.errors import ArtifactError, EdgekitError, UnavailableError, UsageError
from edgekit.mil import kernels
from edgekit.mil.kernels import Context, Kernel
from edgekit.mil.values import Precision, blank, constant, settle
from edgekit.wire.mlprogram import Block, Function, Operation, Program, StateType, TensorType
from edgekit.wire.mlprogram import Value as Constant

RunValue = Any  # Tensor | str | list: what kernels take and give
State = dict[str, Tensor]
_VARIADIC = {"values", "loop_vars", "elem_shape", "ref_tensors", "begins", "ends", "end_masks"}
_KERNEL_FAULTS = (
    RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError,
    AssertionError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One operation, ready to run."""

    operation: Operation
    kernel: Kernel
    wants_context: bool
    fixed: Mapping[str, RunValue]
    bound: tuple[tuple[str, int | tuple[int, ...]], ...]
    outputs: tuple[int, ...]
    blocks: tuple[Code, ...]
    freed: tuple[int, ...]


@dataclass(frozen=True)
class Code:
    """A compiled block: slots of its inputs and outputs, and its steps."""

    inputs: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]


@dataclass
class Frame:
    """The values of one run.

    Attributes:
        slots: Every value that is alive, by slot.
        state: State tensors by name.
        watched: Slots to keep, with the names to keep them under.
        kept: What was kept so far.
    """

    slots: list[RunValue]
    state: State
    watched: Mapping[int, str] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)


class Interpreter:
    """A function of an ML Program, compiled at one precision."""

    def __init__(
        self, program: Program, function: str = "main", precision: Precision = "exact"
    ) -> None:
        if function not in program.functions:
            raise UsageError(
                f"The model has no function {function!r}.",
                f"Known: {', '.join(program.functions)}.",
            )
        self.function: Function = program.functions[function]
        self.precision: Precision = precision
        self._names: dict[str, int] = {}
        self._constants: dict[int, RunValue] = {}
        self._size = 0
        refuse_unknown(self.function.block)
        scope = dict(self._names)
        self._inputs = [self._define(scope, item.name) for item in self.function.inputs]
        for item, slot in zip(self.function.inputs, self._inputs, strict=True):
            if isinstance(item.type, StateType):  # kernels know a state by its name
                self._constants[slot] = item.name
        with inference_mode():
            self.code = self._compile(self.function.block, scope, first=0)

    def new_state(self) -> State:
        """Return the function's states, all zero, as they are before the first prediction."""
        return {
            item.name: blank(item.type.wrapped, self.precision)
            for item in self.function.inputs
            if isinstance(item.type, StateType)
        }

    def run(
        self,
        feeds: Mapping[str, Tensor],
        watch: Sequence[str] = (),
        state: State | None = None,
    ) -> dict[str, RunValue]:
        """Run the function once.

        Args:
            feeds: One tensor per input that is not a state.
            watch: Names of intermediate values to return beside the outputs; of a value in a loop,
                the last one.
            state: From `new_state`, and then changed in place; None starts from zeros.

        Returns:
            The outputs and the watched values, by name.

        Raises:
            UsageError: a watched name is not in the program.
            ArtifactError: an operation failed; the message names it.
        """
        with inference_mode():
            frame = self.frame(feeds, watch, state)
            self._run(self.code, frame)
        names = self.function.block.outputs
        outputs = (frame.slots[slot] for slot in self.code.outputs)
        return frame.kept | dict(zip(names, outputs, strict=True))

    def frame(
        self, feeds: Mapping[str, Tensor], watch: Sequence[str] = (), state: State | None = None
    ) -> Frame:
        """Return the values that a run begins with."""
        unknown = [name for name in watch if name not in self._names]
        if unknown:
            raise UsageError(f"The program has no value named {', '.join(unknown)}.")
        watched = {self._names[name]: name for name in watch}
        frame = Frame([None] * self._size, self.new_state() if state is None else state, watched)
        for slot, value in self._constants.items():
            frame.slots[slot] = value
        for item, slot in zip(self.function.inputs, self._inputs, strict=True):
            if isinstance(item.type, TensorType):
                frame.slots[slot] = settle(feeds[item.name], item.type, self.precision)
        known = (slot for slot in watched if frame.slots[slot] is not None)
        frame.kept.update({watched[slot]: frame.slots[slot] for slot in known})
        return frame

    def execute(self, step: Step, frame: Frame) -> list[RunValue]:
        """Run one operation, free what nothing reads after it, and return the results."""
        slots = frame.slots
        arguments: dict[str, RunValue] = dict(step.fixed)
        for name, slot in step.bound:
            arguments[name] = (
                slots[slot] if isinstance(slot, int) else [slots[item] for item in slot]
            )
        results = self._call(step, arguments, frame)
        for slot, value in zip(step.outputs, results, strict=True):
            slots[slot] = value
            if slot in frame.watched:
                frame.kept[frame.watched[slot]] = value
        for slot in step.freed:
            slots[slot] = None
        return results

    def _run(self, code: Code, frame: Frame) -> None:
        for step in code.steps:
            self.execute(step, frame)

    def _run_block(self, step: Step, frame: Frame, index: int, inputs: list[RunValue]) -> list[Any]:
        """Run a nested block on `inputs`: what `Context.run_block` does."""
        code = step.blocks[index]
        for slot, value in zip(code.inputs, inputs, strict=True):
            frame.slots[slot] = value
        self._run(code, frame)
        return [frame.slots[slot] for slot in code.outputs]

    def _call(self, step: Step, arguments: dict[str, RunValue], frame: Frame) -> list[RunValue]:
        operation = step.operation
        if step.wants_context:
            kinds = tuple(o.type for o in operation.outputs if isinstance(o.type, TensorType))
            arguments["context"] = Context(
                partial(self._run_block, step, frame),
                frame.state,
                kinds,
                self.function.opset,
                operation.name,
            )
        try:
            result = step.kernel(**arguments)
            results = list(result) if isinstance(result, tuple) else [result]
            return [
                settle(value, out.type, self.precision)
                if isinstance(value, Tensor) and isinstance(out.type, TensorType)
                else value
                for value, out in zip(results, operation.outputs, strict=True)
            ]
        except EdgekitError as error:
            raise type(error)(_failure(operation, error.message), error.hint) from None
        except _KERNEL_FAULTS as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ArtifactError(_failure(operation, reason)) from error

    # Compilation

    def _define(self, scope: dict[str, int], name: str) -> int:
        slot = self._size
        self._size += 1
        scope[name] = self._names[name] = slot
        return slot

    def _compile(self, block: Block, outer: Mapping[str, int], first: int) -> Code:
        """Compile a block; it may free slots from `first` on, those before are an outer block's."""
        scope = dict(outer)
        inputs = tuple(self._define(scope, item.name) for item in block.inputs)
        steps: list[Step] = []
        for operation in block.operations:
            if operation.type == "const":
                self._constants[self._define(scope, _single_output(operation))] = _constant(
                    operation
                )
                continue
            step = self._step(operation, scope)
            if operation.type.startswith("constexpr_") and not step.bound:
                result = self._call(step, dict(step.fixed), Frame([], {}))
                self._constants.update(zip(step.outputs, result, strict=True))
            else:
                steps.append(step)
        outputs = tuple(_lookup(scope, name) for name in block.outputs)
        keep = {*outputs, *self._constants, *range(first)}
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
            if all(slot in self._constants for slot in slots):
                values = [self._constants[slot] for slot in slots]
                fixed[name] = values[0] if single else values
            else:
                bound.append((name, slots[0] if single else slots))
        wants_context = _check_arguments(operation, kernel, {*fixed, *(name for name, _ in bound)})
        blocks = tuple(
            self._compile(nested, scope, first=self._size) for nested in operation.blocks
        )
        outputs = tuple(self._define(scope, item.name) for item in operation.outputs)
        return Step(operation, kernel, wants_context, fixed, tuple(bound), outputs, blocks, ())

    def _slot(self, scope: Mapping[str, int], binding: str | Constant) -> int:
        if isinstance(binding, str):
            return _lookup(scope, binding)
        slot = self._size
        self._size += 1
        self._constants[slot] = constant(binding)
        return slot


def refuse_unknown(block: Block) -> None:
    """Raise UnavailableError when a block uses operations that have no kernel."""
    known = kernels.table()
    missing = sorted(
        {op.type for op in _all_operations(block) if op.type not in known and op.type != "const"}
    )
    if missing:
        what = "op" if len(missing) == 1 else "ops"
        verb = "is" if len(missing) == 1 else "are"
        raise UnavailableError(f"{what} {', '.join(missing)} {verb} not in the reference runtime")


def _all_operations(block: Block) -> Iterable[Operation]:
    for operation in block.operations:
        yield operation
        for nested in operation.blocks:
            yield from _all_operations(nested)


def _check_arguments(operation: Operation, kernel: Kernel, given: set[str]) -> bool:
    """Check that a kernel takes what an operation gives; return whether it wants a context."""
    parameters = inspect.signature(kernel).parameters
    extra = sorted(given - set(parameters))
    if extra:
        raise UnavailableError(
            f"op {operation.type} with input {', '.join(extra)} is not in the reference runtime"
        )
    needed = {name for name, p in parameters.items() if p.default is inspect.Parameter.empty}
    missing = sorted(needed - given - {"context"})
    if missing:
        raise ArtifactError(_failure(operation, f"it lacks its input {', '.join(missing)}"))
    return "context" in parameters


def _with_frees(steps: list[Step], keep: set[int]) -> Iterable[Step]:
    """Yield the steps, each with the slots that no later one reads."""
    done: list[Step] = []
    seen = set(keep)
    for step in reversed(steps):
        freed = {*_reads(step), *step.outputs} - seen
        seen |= freed
        done.append(Step(**{**vars(step), "freed": tuple(sorted(freed))}))
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
