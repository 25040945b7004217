"""Pictures become tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.processing.reference.common import Array, cast


def image(
    pixels: Array,
    *,
    input: str,  # noqa: A002 - the specification's own word
    dtype: str,
    shape: Sequence[int],
    layout: str,
    channels: str,
    resize: str,
    size: Sequence[int] | None,
    crop: Sequence[int] | None,
    interpolation: str,
    fill: float,
    divide_by: float,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Array]:
    """Turn a picture into a tensor (1, C, H, W), or (1, H, W, C) in layout ``nhwc``.

    In this order: channels, resize, centre crop, then ``(value / divide_by - mean) / std``.

    Args:
        pixels: uint8 (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGB with alpha, which is
            dropped.
        input: Name of the model's input.
        dtype: Its element type; for integers the result is rounded half to even and clipped.
        shape: Its shape.
        layout: ``nchw`` or ``nhwc``.
        channels: ``rgb``, ``bgr`` or ``gray``.
        resize: ``none``; ``stretch`` to `size`; ``shorter``: the shorter side becomes size[0], the
            other ``size[0] * long // short``; ``letterbox``: fitted into `size`, centred on `fill`.
        size: Height and width.
        crop: Height and width of what is cut from the centre, or None.
        interpolation: ``nearest``: the pixel under an output's centre; ``bilinear``, ``antialias``
            and ``area``: see `taps`.
        fill: Pixel value around a letterboxed picture.
        divide_by: Pixel value that becomes 1.
        mean: One number for all channels, or one for each.
        std: As `mean`.

    Raises:
        ValueError: the picture is not of such a shape, is smaller than the crop, or does not
            become one of the model's size.
    """
    planes = _recoloured(pixels, channels)
    planes = _resized(planes, resize, size, interpolation, fill)
    if crop is not None:
        planes = _cropped(planes, crop[0], crop[1])
    planes = (planes / divide_by - np.array(mean, np.float64)) / np.array(std, np.float64)
    ordered = planes if layout == "nhwc" else planes.transpose(2, 0, 1)
    if ordered[None].shape != tuple(shape):
        raise ValueError(
            f"A picture of shape {pixels.shape} becomes {ordered[None].shape} and the model takes "
            f"{tuple(shape)}."
        )
    return {input: cast(ordered[None], dtype)}


def _recoloured(pixels: Array, channels: str) -> Array:
    """Return float64 (H, W, C) in the model's channels; gray is ITU-R BT.601 luma."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"A picture is uint8 of shape (height, width) or (height, width, 1, 3 or 4), "
            f"not {pixels.dtype} of shape {pixels.shape}."
        )
    values = pixels[:, :, :3].astype(np.float64)
    if channels == "gray":
        if values.shape[2] == 1:
            return values
        red, green, blue = np.moveaxis(values, 2, 0)
        luma: Array = 0.299 * red + 0.587 * green + 0.114 * blue
        return luma[:, :, None]
    if values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    return values[:, :, ::-1] if channels == "bgr" else values


def _resized(
    planes: Array,
    resize: str,
    size: Sequence[int] | None,
    interpolation: str,
    fill: float,
) -> Array:
    if resize == "none" or size is None:
        return planes
    height, width = fitted(planes.shape[0], planes.shape[1], resize, size)
    for axis, target in enumerate((height, width)):
        if interpolation == "nearest":
            planes = planes.take(nearest(planes.shape[axis], target), axis)
        else:
            planes = _resampled(planes, axis, target, interpolation)
    if resize != "letterbox":
        return planes
    canvas = np.full((size[0], size[1], planes.shape[2]), float(fill))
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top : top + height, left : left + width] = planes
    return canvas


def fitted(height: int, width: int, resize: str, size: Sequence[int]) -> tuple[int, int]:
    """Return height and width after a resize, before letterboxing."""
    if resize == "stretch":
        return size[0], size[1]
    if resize == "shorter":
        short = size[0]
        return (
            (short, short * width // height)
            if height <= width
            else (short * height // width, short)
        )
    ratio = min(size[0] / height, size[1] / width)
    return (
        min(size[0], max(1, math.floor(height * ratio + 0.5))),
        min(size[1], max(1, math.floor(width * ratio + 0.5))),
    )


def nearest(source: int, target: int) -> Array:
    """Return which of `source` pixels each of `target` takes: the one under its centre."""
    centres = (np.arange(target) + 0.5) * (source / target)
    places: Array = np.minimum(np.floor(centres).astype(np.int64), source - 1)
    return places


def taps(source: int, target: int, interpolation: str) -> tuple[Array, Array]:
    """Return which inputs each output is made of, and their weights: two arrays (target, K).

    Output i covers ``[i r, (i + 1) r]`` of the inputs, with ``r = source / target`` and its centre
    at ``c = (i + 0.5) r``; input j covers ``[j, j + 1]``.  Weights are divided by their sum.

    ``bilinear``: ``max(0, 1 - |j + 0.5 - c|)``, as PyTorch's ``interpolate(align_corners=False)``.
    ``antialias``: ``max(0, 1 - |j + 0.5 - c| / max(1, r))``, as Pillow's ``Image.resize``
    (BILINEAR) and torchvision's default.
    ``area``: the length that both cover, as OpenCV's INTER_AREA.
    """
    ratio = source / target
    centres = ((np.arange(target) + 0.5) * ratio)[:, None]
    reach = {"bilinear": 1.0, "antialias": max(1.0, ratio), "area": ratio / 2}[interpolation]
    places = np.floor(centres - reach).astype(np.int64) + np.arange(math.ceil(reach) * 2 + 1)
    if interpolation == "area":
        shared = np.minimum(places + 1, centres + reach) - np.maximum(places, centres - reach)
        weights = np.maximum(0.0, shared)
    else:
        weights = np.maximum(0.0, 1.0 - np.abs(places + 0.5 - centres) / reach)
    weights[(places < 0) | (places >= source)] = 0.0
    total = np.zeros(target)
    for column in weights.T:
        total = total + column
    return places.clip(0, source - 1), weights / total[:, None]


def _resampled(planes: Array, axis: int, target: int, interpolation: str) -> Array:
    if planes.shape[axis] == target:
        return planes
    indices, weights = taps(planes.shape[axis], target, interpolation)
    moved = np.moveaxis(planes, axis, 0)
    result = np.zeros((target, *moved.shape[1:]))
    for index, weight in zip(indices.T, weights.T, strict=True):
        result = result + weight[:, None, None] * moved[index]
    return np.moveaxis(result, 0, axis)


def _cropped(planes: Array, height: int, width: int) -> Array:
    if planes.shape[0] < height or planes.shape[1] < width:
        raise ValueError(
            f"A picture of {planes.shape[0]} x {planes.shape[1]} pixels is smaller than its crop, "
            f"{height} x {width}."
        )
    top, left = (planes.shape[0] - height) // 2, (planes.shape[1] - width) // 2
    return planes[top : top + height, left : left + width]
