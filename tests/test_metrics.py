"""The figures of a comparison, against the formulas written out in plain numpy."""

import math

import numpy as np
import pytest

from edgekit.metrics import compare

INF, NAN = math.inf, math.nan


def f32(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 4, 3)])
def test_figures_are_the_formulas(dtype, shape):
    generator = np.random.default_rng(sum(shape))
    r = generator.normal(2, 3, shape).astype(dtype)
    v = (r + generator.normal(0, 0.1, shape)).astype(dtype)
    found = compare(r, v)
    r64, v64 = r.astype(np.float64), v.astype(np.float64)
    error = v64 - r64
    product = (r64 * v64).sum()
    assert found.sqnr_db == pytest.approx(10 * np.log10((r64**2).sum() / (error**2).sum()))
    assert found.cosine == pytest.approx(product / np.sqrt((r64**2).sum() * (v64**2).sum()))
    assert found.max_abs == np.abs(error).max()
    assert found.max_rel == pytest.approx(np.abs(error).max() / np.abs(r64).max())
    assert found.equal_share == (r == v).mean()
    axis = min(1, r.ndim - 1)
    assert found.argmax_agreement == (r.argmax(axis) == v.argmax(axis)).mean()


def test_a_large_float32_does_not_overflow():
    assert compare(f32(3e38, 1), f32(3e38, 1.5)).sqnr_db == pytest.approx(
        20 * math.log10(float(np.float32(3e38)) / 0.5)
    )


@pytest.mark.parametrize(
    ("reference", "value", "sqnr", "cosine", "max_abs", "max_rel"),
    [
        (f32(1, 2), f32(1, 2), INF, 1.0, 0.0, 0.0),
        (f32(0, 0), f32(0, 0), INF, 1.0, 0.0, 0.0),
        (f32(0, 0), f32(0, 2), -INF, 0.0, 2.0, INF),
        (f32(3, 4), f32(0, 0), 0.0, 0.0, 4.0, 1.0),
        (f32(3, 4), f32(-3, -4), -20 * math.log10(2), -1.0, 8.0, 2.0),
        (f32(), f32(), INF, 1.0, 0.0, 0.0),
        (f32(5, 5, 5), f32(5, 5, 6), 10 * math.log10(75), 80 / math.sqrt(75 * 86), 1.0, 0.2),
        (np.array([1, 2**40]), np.array([1, 2**40 + 1]), 240.824, 1.0, 1.0, 2.0**-40),
        (np.array([True, False]), np.array([True, True]), 0.0, math.sqrt(0.5), 1.0, 1.0),
    ],
    ids=["equal", "zeros", "not-zero", "lost", "negated", "empty", "constant", "int64", "bool"],
)
def test_corners(reference, value, sqnr, cosine, max_abs, max_rel):
    found = compare(reference, value)
    assert found.sqnr_db == pytest.approx(sqnr, abs=1e-3)
    assert found.cosine == pytest.approx(cosine)
    assert found.max_abs == max_abs
    assert found.max_rel == pytest.approx(max_rel)


@pytest.mark.parametrize("value", [f32(1, NAN, INF), np.array([1, NAN, INF])])
def test_the_same_odd_values_are_no_error(value):
    found = compare(f32(1, NAN, INF), value)
    assert (found.nonfinite, found.nonfinite_mismatch) == (2, 0)
    assert (found.sqnr_db, found.cosine, found.max_abs, found.equal_share) == (INF, 1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        (f32(1, 2), f32(1, NAN)),
        (f32(1, INF), f32(1, 2)),
        (f32(1, INF), f32(1, -INF)),
        (f32(1, NAN), f32(1, INF)),
    ],
)
def test_an_odd_value_on_one_side_is_counted_and_ruins_every_figure(reference, value):
    found = compare(reference, value)
    assert found.nonfinite_mismatch == 1
    assert (found.sqnr_db, found.cosine) == (-INF, 0.0)
    assert (found.max_abs, found.max_rel) == (INF, INF)


@pytest.mark.parametrize(
    ("shape", "axis"), [((1, 3), 1), ((2, 3, 4), 1), ((3,), 0), ((4, 1), None), ((), None)]
)
def test_argmax_is_taken_along_the_classes(shape, axis):
    r = np.random.default_rng(0).normal(size=shape)
    assert compare(r, r).argmax_agreement == (None if axis is None else 1.0)
    if axis is not None:
        moved = np.roll(r, 1, axis)
        expected = (r.argmax(axis) == moved.argmax(axis)).mean()
        assert compare(r, moved).argmax_agreement == expected < 1


def test_integers_have_no_argmax():
    assert compare(np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3)).argmax_agreement is None
