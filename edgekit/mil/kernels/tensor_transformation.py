"""Kernels of coremltools' tensor_transformation.py."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.errors import ArtifactError
from edgekit.mil.kernels import Context, allow, ints, kernel, scalar
from edgekit.mil.kernels._windows import allow_padding
from edgekit.mil.kernels.defaults import ONE, ZERO

_ANY_RANK_OF_ZEROS = {"CoreML7", "CoreML8"}


@kernel("depth_to_space")
def depth_to_space(*, x: Tensor, block_size: Tensor) -> Tensor:
    """Spread channels over blocks of pixels; a block's place is the slower channel index."""
    n, c, h, w = x.shape
    b = scalar(block_size)
    pixels = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return pixels.reshape(n, c // (b * b), h * b, w * b)


@kernel("space_to_depth")
def space_to_depth(*, x: Tensor, block_size: Tensor) -> Tensor:
    """Gather blocks of pixels into channels; a block's place is the slower channel index."""
    n, c, h, w = x.shape
    b = scalar(block_size)
    pixels = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return pixels.reshape(n, c * b * b, h // b, w // b)


@kernel("space_to_batch")
def space_to_batch(*, x: Tensor, block_shape: Tensor, paddings: Tensor) -> Tensor:
    """Gather blocks of pixels of the zero-padded image into the batch; the place is slower."""
    (top, bottom), (left, right) = paddings.tolist()
    allow_padding(x, [(top, bottom), (left, right)])
    x = functional.pad(x, (left, right, top, bottom))
    n, c, h, w = x.shape
    rows, columns = ints(block_shape)
    pixels = x.reshape(n, c, h // rows, rows, w // columns, columns).permute(3, 5, 0, 1, 2, 4)
    return pixels.reshape(n * rows * columns, c, h // rows, w // columns)


@kernel("batch_to_space")
def batch_to_space(*, x: Tensor, block_shape: Tensor, crops: Tensor) -> Tensor:
    """Spread the batch over blocks of pixels, then crop: the inverse of space_to_batch."""
    n, c, h, w = x.shape
    rows, columns = ints(block_shape)
    batch = n // (rows * columns)
    pixels = x.reshape(rows, columns, batch, c, h, w).permute(2, 3, 4, 0, 5, 1)
    (top, bottom), (left, right) = crops.tolist()
    return pixels.reshape(batch, c, h * rows, w * columns)[
        :, :, top : h * rows - bottom, left : w * columns - right
    ]


@kernel("pixel_shuffle")
def pixel_shuffle(*, x: Tensor, upscale_factor: Tensor) -> Tensor:
    """Spread channels over blocks of pixels; a block's place is the faster channel index."""
    return functional.pixel_shuffle(x, scalar(upscale_factor))


@kernel("pixel_unshuffle")
def pixel_unshuffle(*, x: Tensor, downscale_factor: Tensor) -> Tensor:
    """Gather blocks of pixels into channels: the inverse of pixel_shuffle (iOS16)."""
    return functional.pixel_unshuffle(x, scalar(downscale_factor))


@kernel("expand_dims")
def expand_dims(*, x: Tensor, axes: Tensor) -> Tensor:
    """Insert axes of length 1, numbered as they stand in the result."""
    places = ints(axes)
    rank = x.dim() + len(places)
    for axis in sorted(axis % rank for axis in places):
        x = x.unsqueeze(axis)
    return x


@kernel("squeeze")
def squeeze(*, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Drop the given axes, or else all, as far as their length is 1."""
    return x.squeeze() if axes is None else x.squeeze(ints(axes))


@kernel("transpose")
def transpose(*, x: Tensor, perm: Tensor) -> Tensor:
    """Reorder the axes."""
    return x.permute(ints(perm))


@kernel("reshape")
def reshape(*, x: Tensor, shape: Tensor, context: Context) -> Tensor:
    """Change the shape: -1 is what remains, 0 copies an axis; equal ranks until iOS17.

    iOS15 and iOS16 take the 0 for the same axis of x and want as many axes; iOS17 counts the axes
    from the last, and takes 1 where x has none.
    """
    wanted = ints(shape)
    if 0 in wanted and len(wanted) != x.dim() and context.opset not in _ANY_RANK_OF_ZEROS:
        raise ArtifactError(f"a 0 in shape {wanted} needs as many axes in x, {list(x.shape)}")
    ones = [1] * (len(wanted) - x.dim())
    own = [*ones, *x.shape][-len(wanted) :] if wanted else []
    return x.reshape([own[i] if size == 0 else size for i, size in enumerate(wanted)])


@kernel("reshape_like")
def reshape_like(
    *,
    x: Tensor,
    ref_tensors: list[Tensor],
    begins: list[Tensor],
    ends: list[Tensor],
    end_masks: list[Tensor],
) -> Tensor:
    """Take the shape from stretches of other tensors' shapes (iOS16)."""
    shape: list[int] = []
    for ref, begin, end, mask in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape += ref.shape[scalar(begin) : None if scalar(mask) else scalar(end)]
    return x.reshape(shape)


@kernel("reverse")
def reverse(*, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Reverse the order along the given axes, or else along all."""
    return x.flip(list(range(x.dim())) if axes is None else ints(axes))


@kernel("reverse_sequence")
def reverse_sequence(
    *, x: Tensor, lengths: Tensor, seq_axis: Tensor = ZERO, batch_axis: Tensor = ZERO
) -> Tensor:
    """Reverse the first lengths[i] elements along seq_axis of each entry i of batch_axis."""
    sequence, batch = scalar(seq_axis) % x.dim(), scalar(batch_axis) % x.dim()
    steps = torch.arange(x.shape[sequence])
    counts = lengths.unsqueeze(1)
    source = torch.where(steps < counts, counts - 1 - steps, steps)
    if sequence < batch:
        source = source.T
    shape = [size if axis in (sequence, batch) else 1 for axis, size in enumerate(x.shape)]
    return x.gather(sequence, source.reshape(shape).expand(x.shape))


@kernel("slice_by_index")
def slice_by_index(
    *,
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """NumPy's x[begin:end:stride]; masks open an end or pick the one element at begin."""
    spans = _spans(x.shape, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    part = x[_forward(spans)].flip(_backward(spans))
    if squeeze_mask is None:
        return part
    return part.squeeze([axis for axis, drop in enumerate(squeeze_mask.tolist()) if drop])


@kernel("slice_update")
def slice_update(
    *,
    x: Tensor,
    update: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """Return x with what slice_by_index would take replaced by update (iOS18)."""
    spans = _spans(x.shape, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    result = x.clone()
    new = update.reshape([len(span) for span in spans])
    result[_forward(spans)] = new.flip(_backward(spans))
    return result


@kernel("slice_by_size")
def slice_by_size(*, x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    """Take size[i] elements from begin[i] on; -1 takes all that remain."""
    for axis, (start, count) in enumerate(zip(ints(begin), ints(size), strict=True)):
        first = start % x.shape[axis] if start < 0 else start
        x = x.narrow(axis, first, x.shape[axis] - first if count == -1 else count)
    return x


@kernel("sliding_windows")
def sliding_windows(*, x: Tensor, axis: Tensor, size: Tensor, stride: Tensor = ONE) -> Tensor:
    """Return the windows along axis; their elements form a new axis after it."""
    dim = scalar(axis) % x.dim()
    windows = x.unfold(dim, scalar(size), scalar(stride))
    allow(windows.numel(), x.numel())
    return windows.movedim(-1, dim + 1)


def _spans(
    shape: Sequence[int],
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None,
    begin_mask: Tensor | None,
    end_mask: Tensor | None,
    squeeze_mask: Tensor | None,
) -> list[range]:
    """Return, per axis, the indices that a slice takes."""
    steps = [1] * len(shape) if stride is None else ints(stride)
    from_start, to_end, one = (
        [False] * len(shape) if mask is None else mask.tolist()
        for mask in (begin_mask, end_mask, squeeze_mask)
    )
    spans = []
    for axis, size in enumerate(shape):
        first = None if from_start[axis] else ints(begin)[axis]
        last = None if to_end[axis] else ints(end)[axis]
        if one[axis]:
            index = range(size)[first or 0]
            spans.append(range(index, index + 1))
        else:
            spans.append(range(size)[first : last : steps[axis]])
    return spans


def _forward(spans: list[range]) -> tuple[slice, ...]:
    """Return the spans as slices of positive step, which are all that torch has."""
    ahead = (span if span.step > 0 else span[::-1] for span in spans)
    return tuple(slice(span.start, max(span.stop, span.start), span.step) for span in ahead)


def _backward(spans: list[range]) -> list[int]:
    """Return the axes along which the spans run backwards."""
    return [axis for axis, span in enumerate(spans) if span.step < 0]
