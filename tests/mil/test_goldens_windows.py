"""Convolution and pooling against loops over every window, with hand-computed goldens."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import ArtifactError
from edgekit.wire.mlprogram import TensorType
from tests.mil.harness import assert_close, rng, run_op

F32 = np.float32
MODES = st.sampled_from(["valid", "custom", "same", "same_lower"])
SMALL = settings(max_examples=60, deadline=None, derandomize=True)


def pads_of(mode: str, custom: list[int], sizes: Any, reaches: Any, strides: Any) -> list[Any]:
    """Padding per axis, straight from the definition of each mode."""
    if mode == "custom":
        return [tuple(custom[2 * i : 2 * i + 2]) for i in range(len(sizes))]
    out = []
    for size, reach, stride in zip(sizes, reaches, strides, strict=True):
        total = 0
        if mode != "valid":
            count = int(np.ceil(size / stride))
            total = max(0, (count - 1) * stride + reach - size)
        pair = (total // 2, total - total // 2)
        out.append(pair if mode != "same_lower" else pair[::-1])
    return out


def loop_conv(
    x: Any, w: Any, strides: Any, pads: Any, dilations: Any, groups: int, bias: Any
) -> Any:
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pads])
    reaches = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    sizes = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reaches, strides, strict=True)]
    out = np.zeros((x.shape[0], w.shape[0], *sizes))
    per_in, per_out = w.shape[1], w.shape[0] // groups
    for n, c in itertools.product(range(x.shape[0]), range(w.shape[0])):
        channels = slice(c // per_out * per_in, (c // per_out + 1) * per_in)
        for at in itertools.product(*map(range, sizes)):
            window = tuple(
                slice(i * s, i * s + r, d)
                for i, s, r, d in zip(at, strides, reaches, dilations, strict=True)
            )
            out[(n, c, *at)] = (x[(n, channels, *window)] * w[c]).sum() + bias[c]
    return out


@SMALL
@given(st.data())
def test_conv_is_a_sum_over_windows(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    sizes = data.draw(st.lists(st.integers(4, 7), min_size=rank, max_size=rank))
    width = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    strides = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    dilations = data.draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    custom = data.draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank))
    mode, groups = data.draw(MODES), data.draw(st.sampled_from([1, 2]))
    reaches = [(k - 1) * d + 1 for k, d in zip(width, dilations, strict=True)]
    pads = pads_of(mode, custom, sizes, reaches, strides)
    if any(n + sum(p) < r for n, p, r in zip(sizes, pads, reaches, strict=True)):
        return
    x = rng("x").normal(size=(2, 4, *sizes)).astype(F32)
    w = rng("w").normal(size=(6, 4 // groups, *width)).astype(F32)
    bias = rng("b").normal(size=6).astype(F32)
    want = loop_conv(x, w, strides, pads, dilations, groups, bias)
    inputs = {
        "x": x, "weight": w, "bias": bias, "strides": strides, "pad_type": mode,
        "dilations": dilations, "groups": groups,
    }  # fmt: skip
    if mode == "custom":
        inputs["pad"] = custom
    (got,) = run_op("conv", inputs, (TensorType("float32", want.shape),))
    assert_close(got, want, 2e-5)


def loop_conv_transpose(x: Any, w: Any, strides: Any, dilations: Any, groups: int) -> Any:
    """Scatter each input element, times the kernel, into the full output."""
    sizes = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(x.shape[2:], strides, w.shape[2:], dilations, strict=True)
    ]
    per_in, per_out = w.shape[0] // groups, w.shape[1]
    out = np.zeros((x.shape[0], per_out * groups, *sizes))
    for n, c in itertools.product(range(x.shape[0]), range(w.shape[0])):
        channels = slice(c // per_in * per_out, (c // per_in + 1) * per_out)
        for at in itertools.product(*map(range, x.shape[2:])):
            window = tuple(
                slice(i * s, i * s + (k - 1) * d + 1, d)
                for i, s, k, d in zip(at, strides, w.shape[2:], dilations, strict=True)
            )
            out[(n, channels, *window)] += x[(n, c, *at)].astype(np.float64) * w[c]
    return out


@SMALL
@given(st.data())
def test_conv_transpose_scatters_and_crops(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    sizes = data.draw(st.lists(st.integers(2, 4), min_size=rank, max_size=rank))
    width = data.draw(st.lists(st.integers(2, 3), min_size=rank, max_size=rank))
    strides = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    dilations = data.draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    pad = data.draw(st.lists(st.integers(0, 1), min_size=2 * rank, max_size=2 * rank))
    mode, groups = (
        data.draw(st.sampled_from(["valid", "custom"])),
        data.draw(st.sampled_from([1, 2])),
    )
    x = rng("x").normal(size=(2, 4, *sizes)).astype(F32)
    w = rng("w").normal(size=(4, 3, *width)).astype(F32)
    bias = rng("b").normal(size=3 * groups).astype(F32)
    full = loop_conv_transpose(x, w, strides, dilations, groups)
    crops = [slice(None)] * 2
    for axis, size in enumerate(full.shape[2:]):
        before, after = pad[2 * axis : 2 * axis + 2] if mode == "custom" else (0, 0)
        crops.append(slice(before, size - after))
    want = full[tuple(crops)] + bias.reshape(-1, *[1] * rank)
    if 0 in want.shape:
        return
    inputs = {
        "x": x, "weight": w, "bias": bias, "strides": strides, "dilations": dilations,
        "pad_type": mode, "groups": groups,
    }  # fmt: skip
    if mode == "custom":
        inputs["pad"] = pad
    (got,) = run_op("conv_transpose", inputs, (TensorType("float32", want.shape),))
    assert_close(got, want, 2e-5)


def transpose_1d(**inputs: Any) -> list[float]:
    """Ones through a kernel of 1, 2, 3: easy to follow by hand."""
    x, w = np.ones((1, 1, 3), F32), np.array([[[1, 2, 3]]], F32)
    length = inputs.pop("length")
    given_ = {"x": x, "weight": w, **inputs}
    (got,) = run_op("conv_transpose", given_, (TensorType("float32", (1, 1, length)),))
    return [float(item) for item in got[0, 0]]


def test_conv_transpose_goldens() -> None:
    # stride 2: the kernels at 0, 2 and 4 overlap in one element
    full = [1, 2, 4, 2, 4, 2, 3]
    assert transpose_1d(strides=[2], length=7) == full
    # same: 3 * 2 outputs, the odd element is cropped after
    assert transpose_1d(strides=[2], pad_type="same", length=6) == full[:6]
    assert transpose_1d(strides=[1], pad_type="same", length=3) == [3, 6, 5]
    # output_shape: cut or lengthened at the end, from where the padding begins
    shape = {"output_shape": [1, 1, 6], "pad": [1, 1], "pad_type": "custom"}
    assert transpose_1d(strides=[2], length=6, **shape) == full[1:]
    shape = {"output_shape": [1, 1, 8]}
    assert transpose_1d(strides=[2], length=8, **shape) == [*full, 0]
    # beyond the reach of the kernels the bias stands alone
    shape = {"output_shape": [1, 1, 8], "bias": np.array([10], F32)}
    assert transpose_1d(strides=[2], length=8, **shape) == [item + 10 for item in [*full, 0]]


def loop_pool(
    op: str, x: Any, width: Any, strides: Any, pads: Any, *, exclude: bool, ceil: bool
) -> Any:
    """Pool by visiting every window; elements beyond the padding never exist."""
    counts = []
    for size, k, s, pad in zip(x.shape[2:], width, strides, pads, strict=True):
        total = size + sum(pad)
        count = (total - k + (s - 1 if ceil else 0)) // s + 1
        if ceil and (count - 1) * s >= size + pad[0] and sum(pad) > 0:
            count -= 1
        counts.append(count)
    out = np.zeros((*x.shape[:2], *counts))
    for n, c in itertools.product(range(x.shape[0]), range(x.shape[1])):
        for at in itertools.product(*map(range, counts)):
            real, padded = [], 0
            starts = [i * s for i, s in zip(at, strides, strict=True)]
            for offset in itertools.product(*map(range, width)):
                place = [b + o - p[0] for b, o, p in zip(starts, offset, pads, strict=True)]
                limits = zip(place, x.shape[2:], pads, strict=True)
                if all(0 <= i < size for i, size in zip(place, x.shape[2:], strict=True)):
                    real.append(float(x[(n, c, *place)]))
                elif all(i < size + p[1] for i, size, p in limits):
                    padded += 1
            divisor = len(real) + (0 if exclude else padded)
            out[(n, c, *at)] = {
                "max_pool": lambda real=real: max(real),
                "l2_pool": lambda real=real: np.sqrt(np.square(real).sum()),
                "avg_pool": lambda real=real, divisor=divisor: sum(real) / divisor,
            }[op]()
    return out


@SMALL
@given(st.data())
def test_pools_are_loops_over_windows(data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(["max_pool", "avg_pool", "l2_pool"]))
    rank = data.draw(st.integers(1, 2 if op == "l2_pool" else 3))
    sizes = data.draw(st.lists(st.integers(4, 6), min_size=rank, max_size=rank))
    width = data.draw(st.lists(st.integers(2, 3), min_size=rank, max_size=rank))
    strides = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    mode, exclude = data.draw(MODES), data.draw(st.booleans())
    ceil = data.draw(st.booleans()) and rank < 3 and mode in ("valid", "custom")
    sides = data.draw(st.lists(st.integers(0, 1), min_size=rank, max_size=rank))
    custom = [side for side in sides for _ in range(2)]
    pads = pads_of(mode, custom, sizes, width, strides)
    x = rng("pool").normal(size=(2, 2, *sizes)).astype(F32)
    want = loop_pool(op, x, width, strides, pads, exclude=exclude, ceil=ceil)
    inputs = {
        "x": x, "kernel_sizes": width, "strides": strides, "pad_type": mode, "ceil_mode": ceil
    }  # fmt: skip
    if mode == "custom":
        inputs["pad"] = custom
    if op == "avg_pool":
        inputs["exclude_padding_from_average"] = exclude
    (got,) = run_op(op, inputs, (TensorType("float32", want.shape),))
    assert_close(got, want, 2e-6)


def test_max_pool_of_negative_numbers_ignores_the_padding() -> None:
    x = np.array([[[-3, -1, -2]]], F32)
    inputs = {"x": x, "kernel_sizes": [2], "strides": [2], "pad_type": "custom", "pad": [1, 0]}
    (got,) = run_op("max_pool", inputs, (TensorType("float32", (1, 1, 2)),))
    assert got.tolist() == [[[-3, -1]]]


def test_same_and_same_lower_differ_in_where_the_odd_element_goes() -> None:
    x = np.array([[[1, 2, 3, 4]]], F32)
    inputs = {"x": x, "kernel_sizes": [2], "strides": [1]}
    kind = (TensorType("float32", (1, 1, 4)),)
    (after,) = run_op("max_pool", {**inputs, "pad_type": "same"}, kind)
    (before,) = run_op("max_pool", {**inputs, "pad_type": "same_lower"}, kind)
    assert after.tolist() == [[[2, 3, 4, 4]]]
    assert before.tolist() == [[[1, 2, 3, 4]]]


def test_an_unknown_pad_type_is_refused() -> None:
    x = np.ones((1, 1, 4), F32)
    inputs = {"x": x, "kernel_sizes": [2], "pad_type": "reflect"}
    with pytest.raises(ArtifactError, match="pad_type 'reflect'"):
        run_op("max_pool", inputs, (TensorType("float32", (1, 1, 3)),))
