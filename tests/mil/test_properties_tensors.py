"""Shape rules of tensor kernels, for ranks 0 to 5, against NumPy on generated arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.mil.goldens import assert_golden

PROPERTY = settings(deadline=None, max_examples=60)


def arrays(min_rank: int = 1, min_side: int = 1) -> st.SearchStrategy[np.ndarray]:
    sides = st.lists(st.integers(min_side, 4), min_size=min_rank, max_size=5)
    return sides.map(lambda shape: np.arange(np.prod(shape), dtype=np.int32).reshape(shape))


@PROPERTY
@given(st.data(), arrays())
def test_slice_by_index_is_numpys(data: st.DataObject, x: np.ndarray) -> None:
    rank = x.ndim
    begin, end, stride, begin_mask, end_mask, squeeze_mask, key = [], [], [], [], [], [], []
    for size in x.shape:
        step = data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
        first, last = (data.draw(st.integers(-size - 1, size + 1)) for _ in range(2))
        from_start, to_end, squeeze = (data.draw(st.booleans()) for _ in range(3))
        if squeeze:
            first %= size
            key.append(slice(0, 1) if from_start else slice(first, first + 1))
        else:
            key.append(slice(None if from_start else first, None if to_end else last, step))
        begin.append(first)
        end.append(last)
        stride.append(step)
        begin_mask.append(from_start)
        end_mask.append(to_end)
        squeeze_mask.append(squeeze)
    part = x[tuple(key)]
    assume(part.size)
    squeezed = part.squeeze(tuple(axis for axis in range(rank) if squeeze_mask[axis]))
    slicing = {"begin": begin, "end": end, "stride": stride, "begin_mask": begin_mask,
               "end_mask": end_mask, "squeeze_mask": squeeze_mask}  # fmt: skip
    assert_golden("slice_by_index", squeezed, x=x, **slicing)
    updated = x.copy()
    updated[tuple(key)] = -part
    assert_golden("slice_update", updated, opset="iOS18", x=x, update=-squeezed, **slicing)


@PROPERTY
@given(st.data(), arrays())
def test_slice_by_size(data: st.DataObject, x: np.ndarray) -> None:
    begin, size, key = [], [], []
    for length in x.shape:
        start = data.draw(st.integers(0, length - 1))
        count = data.draw(st.integers(1, length - start) | st.just(-1))
        begin.append(start - length * data.draw(st.booleans()))
        size.append(count)
        key.append(slice(start, length if count == -1 else start + count))
    assert_golden("slice_by_size", x[tuple(key)], x=x, begin=begin, size=size)


@PROPERTY
@given(st.data(), arrays(), st.sampled_from(["constant", "reflect", "replicate"]))
def test_pad_is_numpys(data: st.DataObject, x: np.ndarray, mode: str) -> None:
    dims = data.draw(st.integers(1, x.ndim))
    widths = [
        [data.draw(st.integers(0, size - 1 if mode == "reflect" else size)) for _ in range(2)]
        for size in x.shape[-dims:]
    ]
    full = [[0, 0]] * (x.ndim - dims) + widths
    options: dict[str, Any] = {"constant_values": 7} if mode == "constant" else {}
    wanted = np.pad(x, full, "edge" if mode == "replicate" else mode, **options)
    assert_golden("pad", wanted, x=x, pad=np.array(widths, np.int32).reshape(-1), mode=mode,
                  constant_val=np.int32(7))  # fmt: skip


@PROPERTY
@given(st.data(), arrays(min_rank=0))
def test_reshape_rules(data: st.DataObject, x: np.ndarray) -> None:
    """Whatever is written as 0 or -1 comes back; zeros count from the right since iOS17."""
    if x.ndim == 0:
        assert_golden("reshape", x.reshape(1, 1), x=x, shape=[-1, 1])
        return
    shape = list(x.shape)
    for axis in range(x.ndim):
        if data.draw(st.booleans()):
            shape[axis] = 0
    if data.draw(st.booleans()):
        shape[data.draw(st.integers(0, x.ndim - 1))] = -1
    for opset in ("iOS15", "iOS17"):
        assert_golden("reshape", x, x=x, shape=shape, opset=opset)
    more = [1] * data.draw(st.integers(0, 2)) + [0] + shape
    wanted = x.reshape([1] * (len(more) - x.ndim) + list(x.shape))
    assert_golden("reshape", wanted, x=x, shape=more, opset="iOS17")
    flat = x.reshape(-1)
    assert_golden("reshape", flat, x=x, shape=[-1])
    assert_golden("reshape", x, x=flat, shape=list(x.shape))


@PROPERTY
@given(st.data(), arrays(min_rank=0))
def test_axes_come_and_go(data: st.DataObject, x: np.ndarray) -> None:
    rank = x.ndim + data.draw(st.integers(1, 2))
    axes = data.draw(st.permutations(range(rank)))[: rank - x.ndim]
    signed = [axis - rank * data.draw(st.booleans()) for axis in axes]
    wider = np.expand_dims(x, tuple(axes))
    assert_golden("expand_dims", wider, x=x, axes=signed)
    assert_golden("squeeze", x, x=wider, axes=signed)
    assert_golden("squeeze", np.squeeze(wider), x=wider)


@PROPERTY
@given(st.data(), arrays())
def test_order_of_axes_and_elements(data: st.DataObject, x: np.ndarray) -> None:
    perm = [axis - x.ndim * data.draw(st.booleans())
            for axis in data.draw(st.permutations(range(x.ndim)))]  # fmt: skip
    assert_golden("transpose", x.transpose(perm), x=x, perm=perm)
    assert_golden("reverse", np.flip(x, perm[:2]), x=x, axes=perm[:2])
    assert_golden("reverse", np.flip(x), x=x)
    reps = [data.draw(st.integers(1, 3)) for _ in x.shape]
    assert_golden("tile", np.tile(x, reps), x=x, reps=reps)


@PROPERTY
@given(st.data(), arrays())
def test_split_undoes_concat(data: st.DataObject, x: np.ndarray) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    parts = [x, -x, x + 1]
    whole = np.concatenate(parts, axis)
    assert_golden("concat", whole, values=parts, axis=axis)
    assert_golden("split", *parts, x=whole, num_splits=3, axis=axis)
    sizes = [x.shape[axis], 2 * x.shape[axis]]
    both = np.split(whole, [sizes[0]], axis)
    assert_golden("split", *both, x=whole, split_sizes=sizes, axis=axis)
    assert_golden("stack", np.stack(parts, axis), values=parts, axis=axis)


@PROPERTY
@given(st.data(), arrays())
def test_sorting_keeps_the_order_of_equals(data: st.DataObject, x: np.ndarray) -> None:
    axis, ascending = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.booleans())
    x %= 3
    order = np.argsort(x if ascending else -x, axis, kind="stable")
    assert_golden("argsort", order, x=x, axis=axis, ascending=ascending)
    k = data.draw(st.integers(1, x.shape[axis]))
    first = order.take(range(k), axis)
    assert_golden("topk", np.take_along_axis(x, first, axis), first, x=x, k=k, axis=axis,
                  ascending=ascending)  # fmt: skip


@PROPERTY
@given(st.data(), arrays())
def test_gather_is_numpys_take(data: st.DataObject, x: np.ndarray) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    size = x.shape[axis]
    shape = data.draw(st.lists(st.integers(1, 3), max_size=2))
    count = int(np.prod(shape))
    drawn = data.draw(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count))
    indices = np.array(drawn, np.int32).reshape(shape)
    assert_golden("gather", x.take(indices, axis), x=x, indices=indices, axis=axis)
