"""The interpreter itself: rounding, liveness, scoping, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekit.errors import ArtifactError, UnavailableError, UsageError
from edgekit.mil import kernels
from edgekit.mil.divergence import first_divergence, sqnr_db
from edgekit.mil.interpreter import Interpreter
from edgekit.mil.values import carry, settle
from edgekit.wire.mlprogram import Block, Function, Named, Operation, Program, TensorType
from tests.mil.harness import run_op, value_of

F16, F32 = TensorType("float16", (3,)), TensorType("float32", (3,))


def op(kind: str, out: str, type_: TensorType = F16, /, **inputs: Any) -> Operation:
    """An operation; texts name other values, anything else is a constant."""
    bound = {
        name: (given if isinstance(given, str) else value_of(given),)
        for name, given in inputs.items()
    }
    return Operation(kind, f"{out}_op", bound, (Named(out, type_),), {}, ())


def program(*operations: Operation, outputs: tuple[str, ...], kind: TensorType = F16) -> Program:
    block = Block((), operations, outputs)
    return Program({"main": Function((Named("x", kind),), "CoreML7", block)})


def test_exact_rounds_each_result_and_float32_none() -> None:
    third = program(
        op("mul", "a", x="x", y=np.float16(1 / 3)), op("add", "b", x="a", y="a"), outputs=("b",)
    )
    x = torch.tensor([1.0, 2.0, 3.0])
    (exact,) = Interpreter(third).run({"x": x}).values()
    (free,) = Interpreter(third, precision="float32").run({"x": x}).values()
    factor = np.float16(1 / 3)
    by_numpy = x.numpy().astype(np.float16) * factor
    assert exact.tolist() == (by_numpy + by_numpy).astype(np.float32).tolist()
    assert free.tolist() == (2 * x.numpy() * np.float32(factor)).tolist()


def test_inputs_are_rounded_as_the_program_types_them() -> None:
    same = program(op("identity", "y", x="x"), outputs=("y",))
    x = torch.tensor([0.1, 70000.0, 1e-9])
    (exact,) = Interpreter(same).run({"x": x}).values()
    assert exact.tolist() == [float(np.float16(0.1)), float("inf"), 0.0]
    (free,) = Interpreter(same, precision="float32").run({"x": x}).values()
    assert torch.equal(free, x)


def test_a_kernel_does_not_see_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []

    def spy(*, x: Tensor) -> Tensor:
        seen.append(x.dtype)
        return x

    monkeypatch.setattr(kernels, "table", lambda: {"relu": spy})
    Interpreter(program(op("relu", "y", x="x"), outputs=("y",))).run({"x": torch.ones(3)})
    assert seen == [torch.float32]


def test_values_are_freed_after_their_last_use() -> None:
    chain = [op("relu", f"v{i + 1}", x=f"v{i}" if i else "x") for i in range(20)]
    found = Interpreter(program(*chain, outputs=("v20",)))
    frame = found.frame({"x": torch.ones(3)})
    most = 0
    for step in found.code.steps:
        found.execute(step, frame)
        most = max(most, sum(isinstance(value, Tensor) for value in frame.slots))
    assert most == 1


def test_results_are_watched_and_survive() -> None:
    chain = [op("relu", "a", x="x"), op("square", "b", x="a"), op("exp", "c", x="b")]
    found = Interpreter(program(*chain, outputs=("c",)))
    values = found.run({"x": torch.tensor([-1.0, 0, 2])}, watch=["a", "x", "c"])
    assert set(values) == {"a", "x", "c"}
    assert values["a"].tolist() == [0, 0, 2]
    with pytest.raises(UsageError, match="no value named nowhere"):
        found.run({"x": torch.ones(3)}, watch=["nowhere"])


def test_a_nested_block_reads_outer_values_and_keeps_them_alive() -> None:
    inner = tuple(
        Block((), (op("add", f"t{i}", x="a", y=np.float16(i)),), (f"t{i}",)) for i in range(2)
    )
    branch = Operation("cond", "cond_op", {"pred": ("flag",)}, (Named("y", F16),), {}, inner)
    flag = TensorType("bool", (1,))
    first = op("relu", "a", x="x")
    second = op("greater", "flag", flag, x=np.ones(1, np.float32), y=np.zeros(1, np.float32))
    last = op("add", "z", x="y", y="a")
    found = Interpreter(program(first, second, branch, last, outputs=("z",)))
    (value,) = found.run({"x": torch.tensor([1.0, 2, 3])}).values()
    assert value.tolist() == [2, 4, 6]


def test_an_unknown_operation_is_refused_at_load() -> None:
    bad = program(op("teleport", "a", x="x"), op("warp", "b", x="a"), outputs=("b",))
    with pytest.raises(UnavailableError, match="ops teleport, warp are not in the reference"):
        Interpreter(bad)
    with pytest.raises(UnavailableError, match="op relu with input speed is not in the reference"):
        Interpreter(program(op("relu", "a", x="x", speed=3), outputs=("a",)))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (op("relu", "a", x="ghost"), "uses 'ghost' before it defines it"),
        (op("relu", "a"), r"Operation 'a_op' \(relu\) failed: it lacks its input x"),
        (op("const", "a"), "it holds no value"),
        (op("relu", "a", TensorType("float16", (1 << 20, 1 << 20)), x="x"), "than any real tensor"),
    ],
)
def test_a_program_that_makes_no_sense_is_refused_at_load(
    operation: Operation, message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        Interpreter(program(operation, outputs=("a",)))


def test_a_result_of_another_shape_or_kind_than_declared_is_an_error() -> None:
    x = {"x": torch.ones(3)}
    other = op("relu", "a", TensorType("float16", (4,)), x="x")
    with pytest.raises(ArtifactError, match=r"shape \[3\] where the program says float16\[4\]"):
        Interpreter(program(other, outputs=("a",))).run(x)
    other = op("relu", "a", TensorType("int32", (3,)), x="x")
    with pytest.raises(ArtifactError, match=r"torch.float32 where the program says int32"):
        Interpreter(program(other, outputs=("a",))).run(x)


def test_a_failing_kernel_names_its_operation() -> None:
    bad = program(op("matmul", "a", x="x", y=np.ones((2, 2), np.float16)), outputs=("a",))
    with pytest.raises(ArtifactError, match=r"Operation 'a_op' \(matmul\) failed: "):
        Interpreter(bad).run({"x": torch.ones(3)})


def test_a_function_must_exist() -> None:
    with pytest.raises(UsageError, match="no function 'side'"):
        Interpreter(program(op("relu", "a", x="x"), outputs=("a",)), "side")


def test_integers_wrap_as_their_type_does() -> None:
    wide = torch.tensor([70000, -1], dtype=torch.int64)
    assert carry(wide, "uint16").tolist() == [70000 - 65536, 65535]
    assert carry(wide, "uint8").tolist() == [70000 % 256, 255]
    assert carry(wide, "int16").tolist() == [70000 - 65536, -1]
    assert carry(wide, "uint32").tolist() == [70000, 2**32 - 1]
    kind = TensorType("bfloat16", (1,))
    assert settle(torch.tensor([1.01]), kind, "exact").item() == 1.0078125
    with pytest.raises(ArtifactError, match="no tensors of type string"):
        carry(wide, "string")


def test_constants_of_the_file_cannot_be_changed_by_a_run() -> None:
    weight = np.arange(3, dtype=np.float32)
    first = run_op("add", {"x": weight, "y": weight}, (F32,))
    assert first[0].tolist() == [0, 2, 4]
    assert weight.tolist() == [0, 1, 2]


def test_first_divergence_names_the_operation() -> None:
    chain = [
        op("exp", "a", x="x"), op("mul", "b", x="a", y=np.float16(100)), op("tanh", "c", x="b")
    ]  # fmt: skip
    whole = program(*chain, outputs=("c",))
    found = first_divergence(whole, {"x": torch.tensor([1.0, 2, 8])}, 40)
    assert found is not None
    assert (found.operation, found.type, found.value, found.overflowed) == (
        "b_op",
        "mul",
        "b",
        True,
    )
    assert str(found) == "overflows float16 at op 'b_op' (mul)"
    assert first_divergence(whole, {"x": torch.tensor([1.0, 2, 3])}, 40) is None
    found = first_divergence(whole, {"x": torch.tensor([1.0, 2, 3])}, 200)
    assert found is not None
    assert str(found).startswith("falls to ")
    assert not found.overflowed


def test_cancellation_is_found_as_a_loss() -> None:
    near = [op("add", "a", x="x", y=np.float16(1000)), op("sub", "b", x="a", y=np.float16(1000))]
    found = first_divergence(program(*near, outputs=("b",)), {"x": torch.full((3,), 0.1)}, 20)
    assert found is not None
    assert found.type == "sub"


def test_sqnr() -> None:
    want = torch.tensor([3.0, 4.0])
    assert sqnr_db(want, want) == float("inf")
    assert sqnr_db(torch.tensor([3.0, 4.5]), want) == pytest.approx(20)
    assert sqnr_db(want, torch.zeros(2)) == -float("inf")
