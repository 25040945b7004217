"""Operations for which coremltools has no value inference, against numpy and hand-made numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import ArtifactError
from edgekit.wire.mlprogram import DictionaryType, TensorType
from tests.mil.harness import SHAPES, assert_close, kind, rng, run_op

F32, I32 = np.float32, np.int32
SMALL = settings(max_examples=40, deadline=None, derandomize=True)


def normal(seed: str, shape: tuple[int, ...]) -> Any:
    return rng(seed, shape).normal(size=shape).astype(F32)


@pytest.mark.parametrize("shape", SHAPES)
def test_silu(shape: tuple[int, ...]) -> None:
    x = normal("silu", shape)
    (got,) = run_op("silu", {"x": x}, (kind(x),))
    wide = x.astype(np.float64)
    assert_close(got, (wide / (1 + np.exp(-wide))).astype(F32), 1e-6)


@pytest.mark.parametrize("shape", SHAPES[3:])
def test_batch_norm(shape: tuple[int, ...]) -> None:
    x, mean, variance = normal("x", shape), normal("m", shape[1:2]), normal("v", shape[1:2]) ** 2
    gamma, beta = normal("g", shape[1:2]), normal("b", shape[1:2])
    column = (-1, *[1] * (len(shape) - 2))
    for epsilon in (1e-5, 0.5):
        plain = (x - mean.reshape(column)) / np.sqrt(variance.reshape(column) + F32(epsilon))
        given_ = {"x": x, "mean": mean, "variance": variance}
        if epsilon != 1e-5:
            given_["epsilon"] = F32(epsilon)
        (got,) = run_op("batch_norm", given_, (kind(x),))
        assert_close(got, plain, 2e-6)
        scaled = plain * gamma.reshape(column) + beta.reshape(column)
        (got,) = run_op("batch_norm", {**given_, "gamma": gamma, "beta": beta}, (kind(x),))
        assert_close(got, scaled, 2e-6)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (1, 2, 1, 1)])
def test_instance_norm(shape: tuple[int, ...]) -> None:
    x, gamma, beta = normal("x", shape), normal("g", shape[1:2]), normal("b", shape[1:2])
    axes, column = tuple(range(2, len(shape))), (-1, *[1] * (len(shape) - 2))
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axes, keepdims=True)
    for epsilon in (1e-5, 0.5):
        plain = centred / np.sqrt(wide.var(axes, keepdims=True) + epsilon)
        given_ = {"x": x} | ({} if epsilon == 1e-5 else {"epsilon": F32(epsilon)})
        (got,) = run_op("instance_norm", given_, (kind(x),))
        assert_close(got, plain.astype(F32), 4e-6)
        scaled = (plain * gamma.reshape(column) + beta.reshape(column)).astype(F32)
        (got,) = run_op("instance_norm", {**given_, "gamma": gamma, "beta": beta}, (kind(x),))
        assert_close(got, scaled, 4e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(2, 6, 4), (1, 7, 2, 3)])
def test_local_response_norm(size: int, shape: tuple[int, ...]) -> None:
    x = normal("lrn", shape)
    squares = np.zeros(shape)
    for channel in range(shape[1]):
        low = max(0, channel - size // 2)
        neighbours = x[:, low : channel + (size - 1) // 2 + 1].astype(np.float64)
        squares[:, channel] = (neighbours**2).sum(1)
    alpha, beta, k = F32(0.3), F32(0.6), F32(1.5)
    want = (x / (1.5 + 0.3 / size * squares) ** 0.6).astype(F32)
    given_ = {"x": x, "size": size, "alpha": alpha, "beta": beta, "k": k}
    (got,) = run_op("local_response_norm", given_, (kind(x),))
    assert_close(got, want, 2e-6)
    want = (x / (1 + 1e-4 / size * squares) ** 0.75).astype(F32)
    (got,) = run_op("local_response_norm", {"x": x, "size": size}, (kind(x),))
    assert_close(got, want, 2e-6)


def test_classify() -> None:
    text = TensorType("string", ())
    kinds = (text, DictionaryType(text, TensorType("float64", ())))
    probabilities = np.array([[0.1, 0.7, 0.2]], F32)
    given_ = {"probabilities": probabilities, "classes": ["cat", "dog", "owl"]}
    label, found = run_op("classify", given_, kinds)
    assert label == "dog"
    assert_close(found, probabilities[0], 0)
    with pytest.raises(ArtifactError, match="2 classes for 3 probabilities"):
        run_op("classify", {**given_, "classes": ["cat", "dog"]}, kinds)


def test_layer_norm_without_axes_is_over_all() -> None:
    x = normal("ln", (2, 3, 4))
    (got,) = run_op("layer_norm", {"x": x}, (kind(x),))
    assert_close(got, (x - x.mean()) / np.sqrt(x.var() + 1e-5), 2e-6)


@SMALL
@given(st.integers(-20, 20), st.integers(-5, 5).filter(bool))
def test_integer_division_signs(x: int, y: int) -> None:
    given_ = {"x": np.array([x], I32), "y": np.array([y], I32)}
    out = (TensorType("int32", (1,)),)
    assert run_op("floor_div", given_, out)[0].tolist() == [x // y]
    assert run_op("mod", given_, out)[0].tolist() == [x % y]
    assert run_op("real_div", given_, out)[0].tolist() == [int(x / y)]


def test_the_smallest_integer_by_minus_one_does_not_crash() -> None:
    given_ = {"x": np.array([-(2**31)], I32), "y": np.array([-1], I32)}
    for op in ("floor_div", "mod", "real_div"):
        assert run_op(op, given_, (TensorType("int32", (1,)),))[0].shape == (1,)


def test_division_of_integers_by_zero_is_an_error_of_the_operation() -> None:
    given_ = {"x": np.array([1], I32), "y": np.array([0], I32)}
    with pytest.raises(ArtifactError, match=r"Operation 'floor_div' .* failed"):
        run_op("floor_div", given_, (TensorType("int32", (1,)),))


def test_defaults_of_epsilon() -> None:
    x = np.array([0.5, 2.0], F32)
    wide = x.astype(np.float64)
    for op, want in (
        ("inverse", 1 / (wide + 1e-4)),
        ("rsqrt", 1 / np.sqrt(wide + 1e-12)),
        ("log", np.log(wide)),
    ):
        assert_close(run_op(op, {"x": x}, (kind(x),))[0], want.astype(F32), 2e-6)


def test_softplus_neither_overflows_nor_vanishes() -> None:
    x = np.array([-100, -20, 0, 20, 100], F32)
    want = np.array([np.exp(-100.0), np.exp(-20.0), np.log(2), 20, 100], F32)
    (got,) = run_op("softplus", {"x": x}, (kind(x),))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-37)  # torch flushes denormals


@SMALL
@given(st.data())
def test_reductions_over_any_axes(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 5))
    shape = tuple(data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)))
    chosen = data.draw(st.sets(st.integers(0, rank - 1)))
    axes = [axis - rank if data.draw(st.booleans()) else axis for axis in sorted(chosen)]
    keep = data.draw(st.booleans())
    x = normal("reduce", shape)
    for op, function in (("reduce_sum", np.sum), ("reduce_max", np.max), ("reduce_mean", np.mean)):
        want = np.asarray(function(x, axis=tuple(axes), keepdims=keep))
        inputs = {"x": x, "axes": np.array(axes, I32), "keep_dims": keep}
        (got,) = run_op(op, inputs, (TensorType("float32", want.shape),))
        assert_close(got, want, 1e-5)


@SMALL
@given(st.data())
def test_softmax_sums_to_one_along_any_axis(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 5))
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank)))
    axis = data.draw(st.integers(-rank, rank - 1))
    x = 30 * normal("softmax", shape)
    (got,) = run_op("softmax", {"x": x, "axis": axis}, (kind(x),))
    np.testing.assert_allclose(got.sum(axis), 1, rtol=1e-5)
