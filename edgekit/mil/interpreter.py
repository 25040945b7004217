"""Executes an ML Program, operation by operation, with the kernels of `edgekit.mil.kernels`.

Two precisions.  ``"exact"`` rounds each float16 result to float16 and accumulates in float32, which
is what Core ML documents of its float16 backends; ``"float32"`` never rounds, and so tells the
error of a conversion apart from the error of float16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, inference_mode

from edgekit.errors import UsageError
from edgekit.mil.code import Code, Compiler, RunValue, State, Step, compute
from edgekit.mil.values import Precision, blank, settle
from edgekit.wire.mlprogram import Function, Program, StateType, TensorType


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
    watched: Mapping[int, str]
    kept: dict[str, RunValue] = field(default_factory=dict)


class Interpreter:
    """A function of an ML Program, compiled at one precision.

    Raises:
        UsageError: the program has no function of that name.
        UnavailableError: an operation is not in the reference runtime.
        ArtifactError: the program makes no sense.
    """

    def __init__(
        self, program: Program, function: str = "main", precision: Precision = "exact"
    ) -> None:
        if function not in program.functions:
            known = ", ".join(program.functions)
            raise UsageError(f"The model has no function {function!r}.", f"Known: {known}.")
        self.function: Function = program.functions[function]
        self.precision: Precision = precision
        with inference_mode():
            self._compiled = Compiler(self.function, precision)

    @property
    def code(self) -> Code:
        """The compiled function, for those who step through it."""
        return self._compiled.code

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
        outputs = (frame.slots[slot] for slot in self.code.outputs)
        return frame.kept | dict(zip(self.function.block.outputs, outputs, strict=True))

    def frame(
        self, feeds: Mapping[str, Tensor], watch: Sequence[str] = (), state: State | None = None
    ) -> Frame:
        """Return the values that a run begins with."""
        compiled = self._compiled
        unknown = [name for name in watch if name not in compiled.names]
        if unknown:
            raise UsageError(f"The program has no value named {', '.join(unknown)}.")
        slots: list[RunValue] = [None] * compiled.size
        for slot, value in compiled.constants.items():
            slots[slot] = value
        for item, slot in zip(self.function.inputs, compiled.inputs, strict=True):
            if isinstance(item.type, TensorType):
                slots[slot] = settle(feeds[item.name], item.type, self.precision)
        watched = {compiled.names[name]: name for name in watch}
        kept = {name: slots[slot] for slot, name in watched.items() if slots[slot] is not None}
        return Frame(slots, self.new_state() if state is None else state, watched, kept)

    def execute(self, step: Step, frame: Frame) -> list[RunValue]:
        """Run one operation, free what nothing reads after it, and return the results."""
        slots = frame.slots
        arguments: dict[str, RunValue] = dict(step.fixed)
        for name, slot in step.bound:
            arguments[name] = (
                slots[slot] if isinstance(slot, int) else [slots[item] for item in slot]
            )
        results = compute(
            step,
            arguments,
            self.precision,
            self.function.opset,
            frame.state,
            partial(self._run_block, step, frame),
        )
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

    def _run_block(
        self, step: Step, frame: Frame, index: int, inputs: list[RunValue]
    ) -> list[RunValue]:
        """Run a nested block on `inputs`: what `Context.run_block` does."""
        code = step.blocks[index]
        for slot, value in zip(code.inputs, inputs, strict=True):
            frame.slots[slot] = value
        self._run(code, frame)
        return [frame.slots[slot] for slot in code.outputs]
