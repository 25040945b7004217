"""Kernels of coremltools' tensor_operation.py."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.errors import UnavailableError
from edgekit.mil.kernels import allow, extent, ints, kernel, scalar
from edgekit.mil.kernels._windows import allow_padding
from edgekit.mil.kernels.defaults import FALSE, MINUS_ONE, ONE, TRUE, ZERO

_ZERO_FLOAT = torch.tensor(0.0)


@kernel("band_part")
def band_part(*, x: Tensor, lower: Tensor = MINUS_ONE, upper: Tensor = MINUS_ONE) -> Tensor:
    """Keep `lower` subdiagonals and `upper` superdiagonals of each matrix; negative keeps all."""
    below = torch.arange(x.shape[-2]).unsqueeze(1) - torch.arange(x.shape[-1])
    keep = torch.ones_like(below, dtype=torch.bool)
    if scalar(lower) >= 0:
        keep &= below <= lower
    if scalar(upper) >= 0:
        keep &= -below <= upper
    return torch.where(keep, x, torch.zeros_like(x))


@kernel("cumsum")
def cumsum(
    *, x: Tensor, axis: Tensor = ZERO, exclusive: Tensor = FALSE, reverse: Tensor = FALSE
) -> Tensor:
    """Sum of all elements up to this one, or only of those before it if exclusive."""
    dim = scalar(axis)
    if scalar(reverse):
        x = x.flip(dim)
    if scalar(exclusive) and x.shape[dim]:
        zeros = torch.zeros_like(x.narrow(dim, 0, 1))
        x = torch.cat([zeros, x.narrow(dim, 0, x.shape[dim] - 1)], dim)
    total = x.cumsum(dim, dtype=x.dtype)
    return total.flip(dim) if scalar(reverse) else total


@kernel("fill")
def fill(*, shape: Tensor, value: Tensor = _ZERO_FLOAT) -> Tensor:
    """Return a tensor of the given shape, all `value`."""
    return value.expand(extent(shape)).clone()


@kernel("fill_like")
def fill_like(*, ref_tensor: Tensor, value: Tensor = _ZERO_FLOAT) -> Tensor:
    """Return a tensor of ref_tensor's shape, all `value` (iOS16)."""
    return value.expand(ref_tensor.shape).clone()


@kernel("non_maximum_suppression")
def non_maximum_suppression(
    *,
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: Tensor,
    max_boxes: Tensor,
    score_threshold: Tensor | None = None,
    per_class_suppression: Tensor = FALSE,
) -> tuple[Tensor, ...]:
    """Keep the best of overlapping boxes; iOS17 has boxes last, no score threshold and no count.

    A box is (x, y, width, height) about its centre and scores as its best class does.  If none
    reaches the threshold the best is kept all the same, as Apple's own reference does.  Unused
    places are filled with zeros, and their indices with -1.
    """
    boxes_last = score_threshold is None
    if boxes_last:
        boxes, scores = boxes.mT, scores.mT
    lowest = -math.inf if score_threshold is None else scalar(score_threshold)
    keep = partial(
        _survivors,
        iou=scalar(iou_threshold),
        lowest=lowest,
        limit=scalar(max_boxes),
        per_class=scalar(per_class_suppression),
    )
    kept = [keep(*image) for image in zip(boxes, scores, strict=True)]
    unused = [scalar(max_boxes) - len(rows) for rows in kept]
    indices = torch.stack(
        [functional.pad(rows, (0, n), value=-1) for rows, n in zip(kept, unused, strict=True)]
    )
    boxes, scores = _rows(boxes, indices), _rows(scores, indices)
    if boxes_last:
        return boxes.mT, scores.mT, indices
    return boxes, scores, indices, scalar(max_boxes) - torch.tensor(unused)


def _survivors(
    boxes: Tensor, scores: Tensor, *, iou: float, lowest: float, limit: int, per_class: bool
) -> Tensor:
    """Return the indices of the boxes ``[B, 4]`` that survive suppression, best first."""
    best, label = scores.max(-1)
    order = best.argsort(descending=True, stable=True)
    rivals = order[best[order] >= lowest]
    if len(rivals) == 0:
        return order[:1]
    kept: list[int] = []
    while len(rivals) and len(kept) < limit:
        pick = rivals[0]
        kept.append(int(pick))
        loses = _overlap(boxes[pick], boxes[rivals]) > iou
        if per_class:
            loses &= label[rivals] == label[pick]
        loses[0] = True
        rivals = rivals[~loses]
    return torch.tensor(kept, dtype=torch.int64)


def _rows(of: Tensor, indices: Tensor) -> Tensor:
    """Return rows ``[n, index]`` of ``[n, B, K]``, zeros where the index is -1."""
    places = indices.unsqueeze(-1).expand(-1, -1, of.shape[-1])
    return torch.where(places >= 0, of.gather(1, places.clamp(min=0)), 0.0)


def _overlap(box: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of a box with each of others; NaN if both are empty."""
    half, halves = box[2:] / 2, others[:, 2:] / 2
    low = torch.maximum(box[:2] - half, others[:, :2] - halves)
    high = torch.minimum(box[:2] + half, others[:, :2] + halves)
    common = (high - low).clamp(min=0).prod(-1)
    return common / (box[2:].prod() + others[:, 2:].prod(-1) - common)


@kernel("non_zero")
def non_zero(*, x: Tensor) -> Tensor:
    """Return the index vectors of all elements that are not zero, in row-major order."""
    return x.nonzero()


@kernel("one_hot")
def one_hot(
    *,
    indices: Tensor,
    one_hot_vector_size: Tensor,
    axis: Tensor = MINUS_ONE,
    on_value: Tensor = ONE,
    off_value: Tensor = ZERO,
) -> Tensor:
    """on_value at each index of a new axis, off_value elsewhere; an index beyond it sets none."""
    dim = scalar(axis) % (indices.dim() + 1)
    allow(indices.numel() * scalar(one_hot_vector_size), indices.numel())
    places = torch.arange(scalar(one_hot_vector_size))
    places = places.reshape([-1] + [1] * (indices.dim() - dim))
    return torch.where(indices.unsqueeze(dim) == places, on_value, off_value)


@kernel("pad")
def pad(*, x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor = ZERO) -> Tensor:
    """Pad the last axes with a constant, mirror images without the edge, or copies of the edge."""
    amounts = ints(pad)
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    allow_padding(x, pairs)
    if mode == "constant":
        last_first = [amount for pair in reversed(pairs) for amount in pair]
        return functional.pad(x, last_first, value=scalar(constant_val))
    for axis, (before, after) in enumerate(pairs, start=x.dim() - len(pairs)):
        if before or after:
            places = torch.arange(-before, x.shape[axis] + after)
            x = x.index_select(axis, _inside(places, x.shape[axis], mode))
    return x


def _inside(places: Tensor, size: int, mode: str) -> Tensor:
    """Map places beyond an axis onto it."""
    if mode == "replicate" or size == 1:
        return places.clamp(0, size - 1)
    if mode != "reflect":
        raise UnavailableError(f"pad mode {mode} is not in the reference runtime")
    folded = places.abs() % (2 * size - 2)
    return torch.minimum(folded, 2 * size - 2 - folded)


@kernel("range_1d")
def range_1d(*, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    """start, start + step, ... up to but without end."""
    count = max(0, math.ceil((scalar(end) - scalar(start)) / scalar(step)))
    allow(count)
    return start + step * torch.arange(count, dtype=start.dtype)


@kernel("tile")
def tile(*, x: Tensor, reps: Tensor) -> Tensor:
    """Repeat the whole of x reps[i] times along axis i."""
    allow(x.numel() * math.prod(ints(reps)), x.numel())
    return x.tile(ints(reps))


@kernel("argsort")
def argsort(*, x: Tensor, axis: Tensor = MINUS_ONE, ascending: Tensor = FALSE) -> Tensor:
    """Return the indices that sort x along axis; equal elements keep their order."""
    return x.argsort(dim=scalar(axis), descending=not scalar(ascending), stable=True)


@kernel("topk")
def topk(
    *,
    x: Tensor,
    k: Tensor = ONE,
    axis: Tensor = MINUS_ONE,
    ascending: Tensor = FALSE,
    sort: Tensor = TRUE,  # noqa: ARG001 - unsorted means in any order
    return_indices: Tensor = TRUE,
    output_indices_dtype: str = "int32",  # noqa: ARG001 - also declared as the output's type
) -> Tensor | tuple[Tensor, Tensor]:
    """First k of the sorted elements; sort and return_indices since iOS16, k = -1 since iOS17."""
    dim, count = scalar(axis), scalar(k)
    values, indices = x.sort(dim=dim, descending=not scalar(ascending), stable=True)
    count = x.shape[dim] if count == -1 else count
    if not scalar(return_indices):
        return values.narrow(dim, 0, count)
    return values.narrow(dim, 0, count), indices.narrow(dim, 0, count)


@kernel("flatten2d")
def flatten2d(*, x: Tensor, axis: Tensor = ONE) -> Tensor:
    """Merge the axes before `axis`, and those from it on."""
    at = scalar(axis)
    return x.reshape(math.prod(x.shape[:at]), math.prod(x.shape[at:]))


@kernel("shape")
def shape(*, x: Tensor) -> Tensor:
    """Return the shape of x."""
    return torch.tensor(x.shape, dtype=torch.int32)


@kernel("concat")
def concat(*, values: list[Tensor], axis: Tensor, interleave: Tensor = FALSE) -> Tensor:
    """Join along axis, element by element in turn if interleave; scalars join to a vector."""
    if values[0].dim() == 0:
        return torch.stack(values)
    dim = scalar(axis) % values[0].dim()
    if scalar(interleave):
        return torch.stack(values, dim + 1).flatten(dim, dim + 1)
    return torch.cat(values, dim)


@kernel("split")
def split(
    *,
    x: Tensor,
    axis: Tensor,
    num_splits: Tensor | None = None,
    split_sizes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Cut along axis into parts of split_sizes, or else into num_splits equal ones."""
    dim = scalar(axis)
    if split_sizes is not None:
        return torch.split(x, ints(split_sizes), dim)
    assert num_splits is not None, "it has neither num_splits nor split_sizes"
    return torch.split(x, x.shape[dim] // scalar(num_splits), dim)


@kernel("stack")
def stack(*, values: list[Tensor], axis: Tensor) -> Tensor:
    """Join along a new axis."""
    return torch.stack(values, scalar(axis))


@kernel("identity")
def identity(*, x: Any) -> Any:
    """Return x, a tensor or a list."""
    return x
