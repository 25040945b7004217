"""Operations on whole tensors that coremltools does not fold, against loops and worked examples."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from edgekit.errors import EdgekitError
from tests.mil.goldens import assert_golden, compute, f32

RNG = np.random.default_rng(5)


def test_exclusive_cumsum() -> None:
    x = np.array([[1, 2, 3, 4]], np.int32)
    assert_golden("cumsum", [[0, 1, 3, 6]], x=x, axis=1, exclusive=True)
    assert_golden("cumsum", [[9, 7, 4, 0]], x=x, axis=-1, exclusive=True, reverse=True)
    assert_golden("cumsum", [[0, 0, 0, 0]], x=x, axis=0, exclusive=True)


def test_interleaved_concat() -> None:
    """The example of the operation's definition."""
    first, second = np.arange(1, 7).reshape(3, 2), np.arange(7, 13).reshape(3, 2)
    values = [first.astype(np.int32), second.astype(np.int32)]
    wanted = [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]]
    assert_golden("concat", wanted, values=values, axis=0, interleave=True)
    assert_golden("concat", [[1, 7, 2, 8], [3, 9, 4, 10], [5, 11, 6, 12]], values=values, axis=-1,
                  interleave=True)  # fmt: skip


def test_one_hot() -> None:
    indices = np.array([1, 0], np.int32)
    rows = [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert_golden("one_hot", rows, indices=indices, one_hot_vector_size=4)
    assert_golden("one_hot", np.transpose(rows), indices=indices, one_hot_vector_size=4, axis=0)
    assert_golden("one_hot", f32([[0.1, 1, 0.1], [1, 0.1, 0.1]]), indices=indices,
                  one_hot_vector_size=3, on_value=1.0, off_value=0.1)  # fmt: skip
    grid = RNG.integers(0, 5, (2, 3)).astype(np.int32)
    for axis in (-3, -2, -1, 0, 1, 2):
        wanted = np.moveaxis(np.eye(5, dtype=np.int32)[grid], -1, axis)
        assert_golden("one_hot", wanted, indices=grid, one_hot_vector_size=5, axis=axis)
    beyond = np.array([7, -1], np.int32)
    assert_golden("one_hot", [[0, 0], [0, 0]], indices=beyond, one_hot_vector_size=2)


def test_topk_of_minus_one_sorts_all() -> None:
    x = np.array([[3, 1, 2]], np.int16)
    assert_golden("topk", np.array([[3, 2, 1]], np.int16), [[0, 2, 1]], x=x, k=np.int8(-1))
    indices = np.array([[1, 2]], np.uint16)
    assert_golden("topk", np.array([[1, 2]], np.int16), indices, x=x, k=2, ascending=True,
                  output_indices_dtype="uint16")  # fmt: skip


def overlap(a: Any, b: Any) -> float:
    sides = [
        max(0.0, min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2)
            - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)) for i in (0, 1)
    ]  # fmt: skip
    common = sides[0] * sides[1]
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def suppress(boxes: Any, scores: Any, iou: float, lowest: float, per_class: bool) -> list[int]:
    best, label = scores.max(-1), scores.argmax(-1)
    kept: list[int] = []
    for candidate in np.argsort(-best):
        rivals = [k for k in kept if not per_class or label[k] == label[candidate]]
        if best[candidate] >= lowest and all(
            overlap(boxes[k], boxes[candidate]) <= iou for k in rivals
        ):
            kept.append(int(candidate))
    return kept or [int(best.argmax())]


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize(("iou", "lowest"), [(0.1, -9.0), (0.3, 0.2), (0.9, 0.0), (0.3, 99.0)])
@pytest.mark.parametrize("limit", [3, 30])
def test_non_maximum_suppression(per_class: bool, iou: float, lowest: float, limit: int) -> None:
    boxes = RNG.uniform(5, 20, (2, 24, 4)).astype(np.float32)
    scores = RNG.normal(size=(2, 24, 3)).astype(np.float32)
    selected = [suppress(b, s, iou, lowest, per_class)[:limit]
                for b, s in zip(boxes, scores, strict=True)]  # fmt: skip
    out_boxes, out_scores = np.zeros((2, limit, 4)), np.zeros((2, limit, 3))
    indices = np.full((2, limit), -1)
    for image, rows in enumerate(selected):
        out_boxes[image, : len(rows)] = boxes[image, rows]
        out_scores[image, : len(rows)] = scores[image, rows]
        indices[image, : len(rows)] = rows
    common = {"iou_threshold": np.float32(iou), "max_boxes": limit,
              "per_class_suppression": per_class}  # fmt: skip
    counts = [len(rows) for rows in selected]
    assert_golden("non_maximum_suppression", out_boxes, out_scores, indices, counts, boxes=boxes,
                  scores=scores, score_threshold=np.float32(lowest), opset="iOS15",
                  **common)  # fmt: skip
    if lowest == -9.0:
        assert_golden("non_maximum_suppression", out_boxes.swapaxes(1, 2),
                      out_scores.swapaxes(1, 2), indices, boxes=boxes.swapaxes(1, 2),
                      scores=scores.swapaxes(1, 2), opset="iOS17", **common)  # fmt: skip


def test_non_maximum_suppression_of_touching_boxes() -> None:
    """Numbers of coremltools' test on the real runtime; an empty box overlaps nothing."""
    boxes = f32([[[i] * 4 for i in range(4)]])
    scores = f32([[[-3.5], [9.4], [2.3], [0.7]]])
    assert_golden(
        "non_maximum_suppression", boxes[:, 1:3], scores[:, 1:3], [[1, 2]], [2], boxes=boxes,
        scores=scores, iou_threshold=0.2, score_threshold=0.4, max_boxes=2,
        per_class_suppression=True, opset="iOS15",
    )  # fmt: skip


def blocks(x: np.ndarray, size: int, channel: Any) -> np.ndarray:
    """Move blocks of pixels into the channels that `channel(c, row, column)` gives."""
    n, c, h, w = x.shape
    result = np.zeros((n, c * size * size, h // size, w // size), x.dtype)
    for i, j, k in itertools.product(range(c), range(size), range(size)):
        result[:, channel(i, j, k)] = x[:, i, j::size, k::size]
    return result


@pytest.mark.parametrize("size", [2, 3])
def test_space_and_depth(size: int) -> None:
    x = RNG.normal(size=(2, 3, 6, 12)).astype(np.float32)
    deep = blocks(x, size, lambda c, row, column: (row * size + column) * 3 + c)
    assert_golden("space_to_depth", deep, x=x, block_size=size)
    assert_golden("depth_to_space", x, x=deep, block_size=size)
    shuffled = blocks(x, size, lambda c, row, column: c * size * size + row * size + column)
    assert_golden("pixel_unshuffle", shuffled, x=x, downscale_factor=np.uint32(size))
    assert_golden("pixel_shuffle", x, x=shuffled, upscale_factor=size)


def test_space_and_batch() -> None:
    """Numbers of coremltools' test on the real runtime."""
    x = f32(range(1, 17), 2, 1, 2, 4)
    rows = [[0, 1, 3], [0, 9, 11], [0, 2, 4], [0, 10, 12], [0, 5, 7], [0, 13, 15], [0, 6, 8],
            [0, 14, 16]]  # fmt: skip
    batch = f32(rows, 8, 1, 1, 3)
    margins = [[0, 0], [2, 0]]
    assert_golden("space_to_batch", batch, x=x, block_shape=[2, 2], paddings=margins)
    assert_golden("batch_to_space", x, x=batch, block_shape=[2, 2], crops=margins)
    wide = RNG.normal(size=(2, 3, 4, 9)).astype(np.float32)
    parts = compute("space_to_batch", like=np.zeros((12, 3, 2, 3), np.float32), x=wide,
                    block_shape=[2, 3], paddings=[[0, 0], [0, 0]])  # fmt: skip
    for row, column in itertools.product(range(2), range(3)):
        part = parts[(row * 3 + column) * 2 : (row * 3 + column) * 2 + 2]
        np.testing.assert_array_equal(part, wide[:, :, row::2, column::3])
    assert_golden("batch_to_space", wide[:, :, 1:, 2:-1], x=parts, block_shape=[2, 3],
                  crops=[[1, 0], [2, 1]])  # fmt: skip


@pytest.mark.parametrize(("sequence", "batch"), [(1, 0), (0, 1), (2, 0), (-1, 1)])
def test_reverse_sequence(sequence: int, batch: int) -> None:
    x = RNG.normal(size=(4, 5, 6)).astype(np.float32)
    lengths = RNG.integers(0, x.shape[sequence] + 1, x.shape[batch]).astype(np.int32)
    wanted = x.copy()
    for entry, length in enumerate(lengths):
        place: list[Any] = [slice(None)] * 3
        place[batch], place[sequence] = entry, slice(0, length)
        lines = x[tuple(place)]
        axis = sequence % 3 - (batch < sequence % 3)
        wanted[tuple(place)] = np.flip(lines, axis)
    assert_golden("reverse_sequence", wanted, x=x, lengths=lengths, seq_axis=sequence,
                  batch_axis=batch)  # fmt: skip


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sliding_windows(stride: int, axis: int) -> None:
    x = RNG.normal(size=(5, 6, 7)).astype(np.float32)
    starts = range(0, x.shape[axis] - 2, stride)
    windows = [x.take(range(start, start + 3), axis) for start in starts]
    assert_golden("sliding_windows", np.stack(windows, axis % 3), x=x, axis=axis, size=3,
                  stride=stride)  # fmt: skip


def test_reshape_like() -> None:
    x = RNG.normal(size=(5, 6, 6)).astype(np.float32)
    refs = [np.zeros((2, 3, 4), np.float32), np.zeros((1, 5, 6), np.int32)]
    assert_golden("reshape_like", x.reshape(2, 3, 5, 6), x=x, ref_tensors=refs,
                  begins=[np.int32(0), np.int32(1)], ends=[np.int32(2), np.int32(0)],
                  end_masks=[np.bool_(False), np.bool_(True)])  # fmt: skip


def test_a_zero_in_a_shape_of_another_rank_needs_ios17() -> None:
    x = f32(range(6), 2, 3)
    assert_golden("reshape", x.reshape(1, 2, 3), x=x, shape=[0, 2, 3], opset="iOS17")
    with pytest.raises(EdgekitError, match="needs as many axes"):
        compute("reshape", opset="iOS16", like=x.reshape(1, 2, 3), x=x, shape=[0, 2, 3])


def test_selecting_without_alternatives_finds_indices() -> None:
    assert_golden("select", [[0, 1], [1, 0]], cond=np.array([[False, True], [True, False]]))


def test_random_numbers_repeat_with_a_seed_and_follow_their_law() -> None:
    like = np.zeros((100, 200), np.float32)
    shape = [100, 200]
    normal = compute("random_normal", like=like, shape=shape, mean=2.0, stddev=0.5, seed=3)
    np.testing.assert_array_equal(
        normal, compute("random_normal", like=like, shape=shape, mean=2.0, stddev=0.5, seed=3)
    )
    assert (normal != compute("random_normal", like=like, shape=shape, mean=2.0, stddev=0.5)).any()
    assert abs(normal.mean() - 2) < 0.02
    assert abs(normal.std() - 0.5) < 0.02
    uniform = compute("random_uniform", like=like, shape=shape, low=-1.0, high=3.0, seed=1)
    assert -1 <= uniform.min() < -0.99
    assert 2.99 < uniform.max() < 3
    assert abs(uniform.mean() - 1) < 0.05
    coin = compute("random_bernoulli", like=like, shape=shape, prob=0.25, seed=1)
    assert set(np.unique(coin)) == {0, 1}
    assert abs(coin.mean() - 0.25) < 0.02
    odds = f32([[0.1, 0.9, 0], [0.5, 0.25, 0.25]])
    for mode, x in (("probs", odds), ("logits", np.log(odds + 1e-30))):
        drawn = compute("random_categorical", like=np.zeros((2, 20000), np.float32), x=x,
                        mode=mode, size=20000, seed=4)  # fmt: skip
        shares = [np.bincount(row.astype(int), minlength=3) / 20000 for row in drawn]
        np.testing.assert_allclose(shares, odds, atol=0.02)
