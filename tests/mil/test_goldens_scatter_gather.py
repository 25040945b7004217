"""Scatter and gather kernels against loops over every index."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from edgekit.errors import EdgekitError
from tests.mil.goldens import assert_golden, compute

RNG = np.random.default_rng(11)
MODES: dict[str, Any] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": np.maximum,
    "min": np.minimum,
}


def numbers(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 2, shape).astype(np.float32)


def picks(high: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, high, shape).astype(np.int32)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("opset", ["iOS15", "iOS17"])
@pytest.mark.parametrize(("shape", "axis"), [((4,), 0), ((3, 4, 2), 1), ((3, 4, 2), -1)])
def test_scatter(mode: str, opset: str, shape: tuple[int, ...], axis: int) -> None:
    data, at = numbers(*shape), axis % len(shape)
    indices = picks(shape[axis], 6)  # more than there are places, so that some repeat
    updates = numbers(*shape[:at], 6, *shape[at + 1 :])
    wanted = data.copy()
    for number, index in enumerate(indices):
        place = (slice(None),) * at + (index,)
        wanted[place] = MODES[mode](wanted[place], updates.take(number, at))
    assert_golden("scatter", wanted, opset=opset, rtol=1e-5, data=data, indices=indices,
                  updates=updates, axis=axis, mode=mode)  # fmt: skip


def test_scatter_adds_by_default() -> None:
    """The example of the operation's definition."""
    data = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    updates = np.array([[5, 6, 7], [8, 9, 10]], np.float32)
    wanted = np.array([[9, 11, 13], [9, 11, 13]], np.float32)
    indices = np.array([1, 0], np.int32)
    assert_golden("scatter", wanted, data=data, indices=indices, updates=updates)
    assert_golden("scatter", wanted.astype(np.int32), data=data.astype(np.int32), indices=indices,
                  updates=updates.astype(np.int32))  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter_along_axis(mode: str, axis: int) -> None:
    data = numbers(3, 4, 5)
    shape = list(data.shape)
    shape[axis] = 7
    indices, updates = picks(data.shape[axis], *shape), numbers(*shape)
    wanted = data.copy()
    for place in itertools.product(*map(range, shape)):
        target = list(place)
        target[axis] = indices[place]
        wanted[tuple(target)] = MODES[mode](wanted[tuple(target)], updates[place])
    assert_golden("scatter_along_axis", wanted, rtol=1e-5, data=data, indices=indices,
                  updates=updates, axis=axis, mode=mode)  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("depth", "lead"), [(1, (5,)), (2, (4,)), (3, (2, 3)), (2, ())])
def test_scatter_nd(mode: str, depth: int, lead: tuple[int, ...]) -> None:
    data = numbers(2, 3, 4)
    indices = np.stack([picks(size, *lead) for size in data.shape[:depth]], -1)
    updates = numbers(*lead, *data.shape[depth:])
    wanted = data.copy()
    for place in itertools.product(*map(range, lead)):
        target = tuple(indices[place])
        wanted[target] = MODES[mode](wanted[target], updates[place])
    assert_golden("scatter_nd", wanted, rtol=1e-5, data=data, indices=indices, updates=updates,
                  mode=mode)  # fmt: skip


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2])
def test_gather_nd(batch: int, depth: int) -> None:
    x = numbers(2, 3, 4, 5)
    lead = (*x.shape[:batch], 3)
    indices = np.stack([picks(size, *lead) for size in x.shape[batch : batch + depth]], -1)
    wanted = np.zeros((*lead, *x.shape[batch + depth :]), np.float32)
    for place in itertools.product(*map(range, lead)):
        wanted[place] = x[(*place[:batch], *indices[place])]
    inputs = {"x": x, "indices": indices} | ({"batch_dims": batch} if batch else {})
    assert_golden("gather_nd", wanted, opset="iOS16" if batch else "iOS15", **inputs)


def test_gather_counts_a_negative_axis_from_the_end_whatever_the_batch() -> None:
    """coremltools folds this case to a shape other than it infers, so it is no reference here."""
    x, indices = numbers(2, 3, 4, 5), picks(4, 2, 6)
    wanted = np.stack([part[:, row] for part, row in zip(x, indices, strict=True)])
    assert_golden("gather", wanted, x=x, indices=indices, axis=-2, batch_dims=1)


CALLS: dict[str, Any] = {
    "gather": {"x": numbers(4)},
    "gather_along_axis": {"x": numbers(4)},
    "scatter": {"data": numbers(4), "updates": numbers(1)},
    "scatter_along_axis": {"data": numbers(4), "updates": numbers(1)},
}


@pytest.mark.parametrize("op", CALLS)
def test_indices_beyond_the_axis_are_an_error(op: str) -> None:
    like = CALLS[op].get("data", np.zeros(1, np.float32))
    for index, flags in ((4, {}), (-5, {}), (-1, {"validate_indices": True})):
        with pytest.raises(EdgekitError, match="outside an axis"):
            compute(op, like=like, indices=np.array([index], np.int32), **CALLS[op], **flags)
    compute(op, like=like, indices=np.array([-1], np.int32), **CALLS[op])
