"""Kernels against coremltools' own numpy value inference, op by op."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edgekit.mil import kernels
from tests.mil import harness
from tests.mil.harness import SHAPES, Case, check, rng

pytestmark = pytest.mark.filterwarnings("ignore")

F32, F16, I32 = np.float32, np.float16, np.int32


def floats(seed: str, shape: tuple[int, ...], low: float = -3, high: float = 3) -> Any:
    return rng(seed, shape).uniform(low, high, shape).astype(F32)


def integers(seed: str, shape: tuple[int, ...], low: int = -9, high: int = 9) -> Any:
    return rng(seed, shape).integers(low, high, shape).astype(I32)


DOMAINS = {
    "acos": (-1, 1), "asin": (-1, 1), "atanh": (-0.9, 0.9), "log": (0.01, 9), "sqrt": (0, 9),
    "rsqrt": (0.01, 9), "inverse": (0.1, 9), "tan": (-1.4, 1.4), "round": (-5, 5),
}  # fmt: skip
UNARY = [
    "abs",
    "acos",
    "asin",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "erf",
    "exp",
    "exp2",
    "floor",
    "inverse",
    "log",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "relu",
    "relu6",
    "sigmoid",
    "softplus",
    "softsign",
]
UNARY_INTS = ["abs", "sign", "square"]
ALPHA = ["elu", "leaky_relu", "thresholded_relu", "threshold"]
ALPHA_BETA = ["linear_activation", "scaled_tanh", "sigmoid_hard"]
BINARY = ["add", "sub", "mul", "real_div", "floor_div", "mod", "maximum", "minimum", "pow"]
COMPARE = ["equal", "not_equal", "greater", "greater_equal", "less", "less_equal"]
LOGICAL = ["logical_and", "logical_or", "logical_xor"]
REDUCE = [
    "reduce_l1_norm",
    "reduce_l2_norm",
    "reduce_log_sum",
    "reduce_log_sum_exp",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_prod",
    "reduce_sum",
    "reduce_sum_square",
]
BROADCASTS = [
    ((), ()), ((3,), ()), ((2, 3), (3,)), ((2, 1, 4), (3, 1)), ((1, 2, 3, 4), (1, 2, 1, 1)),
    ((2, 1, 3, 1, 2), (1, 4, 1, 5, 1)),
]  # fmt: skip


def elementwise() -> Iterator[Case]:
    for op in UNARY:
        for shape in SHAPES[1:]:
            yield Case(op, {"x": floats(op, shape, *DOMAINS.get(op, (-3, 3)))}, rtol=2e-6)
        halves = floats(op, (4, 5), *DOMAINS.get(op, (-3, 3))).astype(F16)
        yield Case(op, {"x": halves}, rtol=4e-3)
    yield Case("round", {"x": np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], F32)})
    for op in UNARY_INTS:
        yield Case(op, {"x": integers(op, (2, 5))})
    for op in ("inverse", "log", "rsqrt"):
        yield Case(op, {"x": floats(op, (2, 3), 0.1, 2), "epsilon": F32(0.5)}, rtol=2e-6)
    for shape in SHAPES[1:]:
        yield Case("logical_not", {"x": floats("not", shape) > 0})
        yield Case("clip", {"x": floats("clip", shape), "alpha": F32(-1), "beta": F32(0.7)})


def casts() -> Iterator[Case]:
    numbers = np.array([-100.7, -1.5, -0.2, 0, 0.2, 1.5, 100.7], F32)
    for dtype in ("int32", "fp16", "fp32", "bool", "int8", "int16"):
        yield Case("cast", {"x": numbers, "dtype": dtype})
    for dtype in ("int32", "fp16", "fp32", "bool", "int8", "uint8", "int16", "uint16"):
        yield Case("cast", {"x": np.array([0, 1, 2, 100], I32), "dtype": dtype})
        yield Case("cast", {"x": np.array([True, False]), "dtype": dtype})
        yield Case("cast", {"x": np.array([0, 3, 255], np.uint8), "dtype": dtype})
    for dtype in ("int8", "uint8", "int16", "uint16"):
        yield Case("cast", {"x": np.array([-70000, -129, -1, 300, 70000], I32), "dtype": dtype})


def activations() -> Iterator[Case]:
    for shape in SHAPES[1:]:
        for op in ALPHA:
            yield Case(op, {"x": floats(op, shape), "alpha": F32(0.3)}, rtol=2e-6)
        for op in ALPHA_BETA:
            given = {"x": floats(op, shape), "alpha": F32(0.3), "beta": F32(0.6)}
            yield Case(op, given, rtol=2e-6)
        given = {"x": floats("clamped", shape), "alpha": F32(0.3), "beta": F32(1.2)}
        yield Case("clamped_relu", given)
        for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"):
            yield Case("gelu", {"x": floats(mode, shape), "mode": mode}, rtol=2e-6)
        yield Case("gelu", {"x": floats("gelu", shape)}, rtol=2e-6)
        for axis in range(-len(shape), len(shape)):
            yield Case("softmax", {"x": floats("softmax", shape), "axis": axis}, rtol=2e-6)
    yield Case("softmax", {"x": floats("softmax", (2, 5))}, rtol=2e-6)
    yield Case("threshold", {"x": integers("threshold", (3, 4)), "alpha": I32(2)})
    for shape in SHAPES[3:]:
        alpha, beta = floats("a", shape[1:2], 0.1, 1), floats("b", shape[1:2], 0.1, 1)
        given = {"x": floats("softplus", shape), "alpha": alpha, "beta": beta}
        yield Case("softplus_parametric", given, rtol=2e-6)
        same = np.full(shape[1], 0.2, F32)
        yield Case("prelu", {"x": floats("prelu", shape), "alpha": same})
    alpha = np.array([0.1, -0.5], F32)
    yield Case("prelu", {"x": floats("prelu", (3, 2, 4, 5)), "alpha": alpha})


def binaries() -> Iterator[Case]:
    for left, right in BROADCASTS:
        for op in BINARY:
            low = 0.1 if op == "pow" else -3
            x, y = floats(op + "x", left, low), floats(op + "y", right)
            yield Case(op, {"x": x, "y": y}, rtol=4e-6)
        for op in COMPARE:
            x, y = integers(op + "x", left, -2, 2), integers(op + "y", right, -2, 2)
            yield Case(op, {"x": x, "y": y})
            yield Case(op, {"x": x.astype(F32), "y": y.astype(F32)})
        for op in LOGICAL:
            yield Case(op, {"x": floats(op + "x", left) > 0, "y": floats(op + "y", right) > 0})
        for op in ("add", "sub", "mul", "maximum", "minimum", "floor_div", "mod"):
            y = integers(op + "y", right, 1, 5) * np.where(integers("s", right) > 0, 1, -1)
            yield Case(op, {"x": integers(op + "x", left), "y": y.astype(I32)})
    yield Case("pow", {"x": integers("pow", (2, 3)), "y": I32(2)})
    yield Case("add", {"x": floats("add", (2, 3)).astype(F16), "y": F16(0.3)}, rtol=1e-3)


def reductions() -> Iterator[Case]:
    for op in REDUCE:
        low = 0.5 if op == "reduce_log_sum" else -2
        for shape in SHAPES[1:]:
            rank = len(shape)
            for axes in ([0], [-1], [0, rank - 1], [-rank], list(range(rank)), None):
                for keep in (True, False):
                    if axes is not None and len({axis % rank for axis in axes}) < len(axes):
                        continue
                    chosen = {} if axes is None else {"axes": axes}
                    given = {"x": floats(op, shape, low, 2), "keep_dims": keep, **chosen}
                    yield Case(op, given, rtol=2e-6)
        if not op.startswith("reduce_log") and op != "reduce_l2_norm":
            yield Case(op, {"x": integers(op, (3, 4), 1, 9), "axes": [1]})
    for op in ("reduce_argmax", "reduce_argmin"):
        for shape in SHAPES[1:]:
            x = rng(op, shape).permutation(int(np.prod(shape))).reshape(shape).astype(F32)
            for axis in (0, -1):
                for keep in (True, False):
                    yield Case(op, {"x": x, "axis": axis, "keep_dims": keep})
    yield Case("reduce_argmax", {"x": floats("arg", (3, 4))})


def products() -> Iterator[Case]:
    for shape in ((4,), (2, 4), (3, 2, 4)):
        given = {"x": floats("linear", shape), "weight": floats("w", (5, 4))}
        yield Case("linear", given, rtol=2e-6)
        yield Case("linear", {**given, "bias": floats("b", (5,))}, rtol=2e-6)
    ints = {
        "x": integers("x", (2, 3)),
        "weight": integers("w", (4, 3)),
        "bias": integers("b", (4,)),
    }
    yield Case("linear", ints)
    for left, right in (
        ((2, 3), (3, 4)), ((4,), (4, 3)), ((10, 2, 3), (3, 4)), ((2, 1, 2, 3), (5, 3, 4)),
        ((4,), (2, 4, 3)),
    ):  # fmt: skip
        given = {"x": floats("x", left), "y": floats("y", right)}
        yield Case("matmul", given, rtol=2e-6)
        turned = np.ascontiguousarray(given["y"].swapaxes(-1, -2))
        yield Case("matmul", {**given, "y": turned, "transpose_y": True}, rtol=2e-6)
        if len(left) > 1:
            turned = np.ascontiguousarray(given["x"].swapaxes(-1, -2))
            yield Case("matmul", {**given, "x": turned, "transpose_x": True}, rtol=2e-6)
    yield Case("matmul", {"x": integers("x", (2, 3)), "y": integers("y", (3, 4))})
    for equation, left, right in (
        ("nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
        ("abcd,adce->abce", (2, 3, 1, 5), (1, 5, 4, 6)),
        ("nchw,nwhu->nchu", (1, 3, 4, 5), (2, 5, 1, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 4, 6)),
        ("chw,whr->chr", (3, 1, 5), (5, 4, 6)),
    ):
        values = [floats("x", left), floats("y", right)]
        yield Case("einsum", {"values": values, "equation": equation}, rtol=2e-6)


def normalizations() -> Iterator[Case]:
    for shape in SHAPES[3:]:
        yield Case("l2_norm", {"x": floats("l2", shape)}, rtol=2e-6)
        yield Case("l2_norm", {"x": floats("l2", shape), "epsilon": F32(0.3)}, rtol=2e-6)
    for shape, axes in (
        ((4,), [0]), ((2, 5), [-1]), ((2, 5), [0]), ((2, 3, 4), [1, 2]), ((2, 3, 4), [0, 2]),
        ((2, 3, 4, 5), [1]), ((2, 3, 4, 5), [-3, -1]), ((2, 2, 3, 2, 4), [2, 3, 4]),
    ):  # fmt: skip
        rank = len(shape)
        part = tuple(shape[axis] for axis in sorted(axis % rank for axis in axes))
        given = {"x": floats("ln", shape), "axes": axes}
        yield Case("layer_norm", given, rtol=4e-6)
        scaled = {"gamma": floats("g", part), "beta": floats("b", part), "epsilon": F32(0.1)}
        yield Case("layer_norm", {**given, **scaled}, rtol=4e-6)


def attentions() -> Iterator[Case]:
    for lead in ((2,), (2, 3)):
        q, k, v = floats("q", (*lead, 5, 4)), floats("k", (*lead, 6, 4)), floats("v", (*lead, 6, 3))
        given = {"query": q, "key": k, "value": v}
        masks: list[Any] = [floats("m", (5, 6)), floats("m", (*lead, 5, 6)) > -1]
        yield Case("scaled_dot_product_attention", given, "iOS18", 4e-6)
        for mask in masks:
            masked = {**given, "attn_mask": mask}
            yield Case("scaled_dot_product_attention", masked, "iOS18", 4e-6)


FAMILIES: list[Callable[[], Iterator[Case]]] = [
    elementwise, casts, activations, binaries, reductions, products, normalizations, attentions
]  # fmt: skip


OURS = [
    "activation",
    "classify",
    "conv",
    "elementwise_binary",
    "elementwise_unary",
    "linear",
    "normalization",
    "pool",
    "reduction",
    "transformers",
]


def test_every_folded_op_of_these_families_has_a_case() -> None:
    tested = {case.op for family in FAMILIES for case in family()}
    assert {op for op in harness.folded_ops() if harness.family_of(op) in OURS} == tested


def test_a_wrong_kernel_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**kernels.table(), "softmax": lambda *, x, axis: x.softmax(0)}
    monkeypatch.setattr(kernels, "table", lambda: wrong)
    with pytest.raises(AssertionError, match="softmax"):
        check(Case("softmax", {"x": floats("softmax", (2, 3)), "axis": 1}))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_kernels_agree_with_coremltools(family: Callable[[], Iterator[Case]]) -> None:
    failures = []
    for case in family():
        try:
            check(case)
        except Exception as error:  # noqa: BLE001 - collected, so that one run shows them all
            failures.append(f"{case}: {type(error).__name__}: {str(error).splitlines()[0]}")
    assert not failures, f"{len(failures)} cases fail:\n" + "\n".join(failures)
