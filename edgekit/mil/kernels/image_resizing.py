"""Kernels of coremltools' image_resizing.py.

Grids are computed in float64: a coordinate that should meet a pixel or an edge must not miss it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.errors import UnavailableError
from edgekit.mil.kernels import allow, ints, kernel, scalar
from edgekit.mil.kernels.defaults import FALSE, ONE, TRUE, ZERO

_ALIGNED = {"ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"}
_HALF_PIXEL_NEAREST = {"DEFAULT", "UNALIGN_CORNERS"}


@kernel("upsample_nearest_neighbor")
def upsample_nearest_neighbor(
    *, x: Tensor, scale_factor_height: Tensor = ONE, scale_factor_width: Tensor = ONE
) -> Tensor:
    """Pixel floor(i * input / output) of each axis; the factors only set the output's size."""
    for axis, factor in ((-2, scale_factor_height), (-1, scale_factor_width)):
        size, count = x.shape[axis], _scaled(x.shape[axis], factor)
        allow(count * x.numel() // size, x.numel())
        x = x.index_select(axis, torch.arange(count) * size // count)
    return x


@kernel("resize_nearest_neighbor")
def resize_nearest_neighbor(
    *, x: Tensor, target_size_height: Tensor, target_size_width: Tensor
) -> Tensor:
    """Pixel floor((i + 0.5) * input / output) of each axis."""
    return _nearest(_nearest(x, -2, scalar(target_size_height)), -1, scalar(target_size_width))


@kernel("upsample_bilinear")
def upsample_bilinear(
    *,
    x: Tensor,
    scale_factor_height: Tensor = ONE,
    scale_factor_width: Tensor = ONE,
    align_corners: Tensor = TRUE,
    half_pixel_centers: Tensor | None = None,
) -> Tensor:
    """Interpolate; the factors only set the output's size; half_pixel_centers since iOS16."""
    if scalar(align_corners):
        mode = "STRICT_ALIGN_CORNERS"
    elif half_pixel_centers is None or scalar(half_pixel_centers):
        mode = "UNALIGN_CORNERS"
    else:
        mode = "DEFAULT"
    height = _scaled(x.shape[-2], scale_factor_height)
    width = _scaled(x.shape[-1], scale_factor_width)
    return _linear(_linear(x, -2, height, mode), -1, width, mode)


@kernel("resize_bilinear")
def resize_bilinear(
    *,
    x: Tensor,
    target_size_height: Tensor = ONE,
    target_size_width: Tensor = ONE,
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Interpolate at the sampling mode's grid points; see `grid`."""
    x = _linear(x, -2, scalar(target_size_height), sampling_mode)
    return _linear(x, -1, scalar(target_size_width), sampling_mode)


@kernel("resize")
def resize(
    *,
    x: Tensor,
    shape: Tensor,
    resized_dims: Tensor,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Resize the last resized_dims axes to the last sizes in shape, 0 keeping one (iOS17)."""
    linear = interpolation_mode == "LINEAR"
    if linear and not x.is_floating_point():
        raise UnavailableError("LINEAR on integers is not in the reference runtime")
    if not linear and sampling_mode not in _HALF_PIXEL_NEAREST:
        raise UnavailableError(
            f"NEAREST_NEIGHBOR with {sampling_mode} is not in the reference runtime"
        )
    count = scalar(resized_dims)
    sizes = ints(shape)
    for axis, size in zip(range(-count, 0), sizes[len(sizes) - count :], strict=True):
        wanted = size or x.shape[axis]
        x = _linear(x, axis, wanted, sampling_mode) if linear else _nearest(x, axis, wanted)
    return x


@kernel("crop")
def crop(*, x: Tensor, crop_height: Tensor, crop_width: Tensor) -> Tensor:
    """Cut (before, after) off the last two axes."""
    for axis, amounts in ((-2, crop_height), (-1, crop_width)):
        before, after = ints(amounts)
        x = x.narrow(axis, before, x.shape[axis] - before - after)
    return x


@kernel("crop_resize")
def crop_resize(
    *,
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: Tensor = ONE,
    target_width: Tensor = ONE,
    normalized_coordinates: Tensor = FALSE,
    spatial_scale: Tensor = ONE,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: Tensor = ZERO,
) -> Tensor:
    """Interpolate within boxes; pad_value since iOS16, boxes and box_indices for roi since iOS17.

    A roi of 5 numbers begins with the image's index and one of 4 crops every image: [N, 1 or B, C,
    h, w].  With boxes the result is [N, C, h, w].
    """
    if boxes is not None:
        wanted = list(range(len(boxes))) if box_indices is None else ints(box_indices)
        pictures = [x[index : index + 1] for index in wanted]
    else:
        assert roi is not None, "it has neither roi nor boxes"
        boxes = roi.flatten(1)[:, -4:]
        indexed = roi.shape[2] == 5
        pictures = [x[int(i) : int(i) + 1] if indexed else x for i in roi[:, 0, 0, 0, 0]]
    limits = torch.tensor([x.shape[-2] - 1, x.shape[-1] - 1] * 2)
    edges = _corners(boxes.double(), box_coordinate_mode) * spatial_scale
    if scalar(normalized_coordinates):
        edges = edges * limits
    size = (scalar(target_height), scalar(target_width))
    crops = [
        _crop(picture, box, size, sampling_mode, pad_value)
        for picture, box in zip(pictures, edges.tolist(), strict=True)
    ]
    return torch.cat(crops) if roi is None else torch.stack(crops)


@kernel("affine")
def affine(
    *,
    x: Tensor,
    transform_matrix: Tensor,
    output_height: Tensor,
    output_width: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Tensor,
    coordinates_mode: str,
    align_corners: Tensor,
) -> Tensor:
    """Resample at an affine transform of the output's own coordinates.

    Only what coremltools lets through is here: coordinates from -1 to 1 at the corner pixels'
    centres.
    """
    if coordinates_mode != "normalized_minus_one_to_one" or not scalar(align_corners):
        raise UnavailableError(
            "affine without aligned corners from -1 to 1 is not in the reference runtime"
        )
    rows, columns = _from_minus_one(scalar(output_height)), _from_minus_one(scalar(output_width))
    y, x_ = torch.meshgrid(rows, columns, indexing="ij")
    plane = torch.stack([x_, y, torch.ones_like(y)], -1)
    points = torch.einsum("bij,hwj->bhwi", transform_matrix.double().reshape(-1, 2, 3), plane)
    return resample(
        x=x,
        coordinates=points.expand(x.shape[0], -1, -1, -1),
        sampling_mode=sampling_mode,
        padding_mode=padding_mode,
        padding_value=padding_value,
        coordinates_mode=coordinates_mode,
        align_corners=align_corners,
    )


@kernel("resample")
def resample(
    *,
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Tensor,
    coordinates_mode: str,
    align_corners: Tensor,
) -> Tensor:
    """Sample at (x, y) coordinates; float16 ones since iOS16, small integers since iOS17."""
    aligned = scalar(align_corners)
    column, row = (
        _fold(_to_pixels(points, size, coordinates_mode, aligned), size, padding_mode)
        for points, size in zip(coordinates.double().unbind(-1), x.shape[:1:-1], strict=True)
    )
    fill = padding_value.to(x.dtype)
    if sampling_mode == "nearest":
        return _pick(x, column.round(), row.round(), fill)
    if sampling_mode != "bilinear":
        raise UnavailableError(f"sampling mode {sampling_mode} is not in the reference runtime")
    left, top = column.floor(), row.floor()
    right = (column - left).to(x.dtype).unsqueeze(1)
    lower = (row - top).to(x.dtype).unsqueeze(1)
    above = torch.lerp(_pick(x, left, top, fill), _pick(x, left + 1, top, fill), right)
    below = torch.lerp(_pick(x, left, top + 1, fill), _pick(x, left + 1, top + 1, fill), right)
    return torch.lerp(above, below, lower)


def grid(mode: str, count: int, start: float, end: float) -> Tensor:
    """Return the `count` points at which a sampling mode samples the pixels from start to end.

    The formulas are those of resize_bilinear's definition, for which start is 0 and end is the size
    less 1; crop_resize refers to the same, for a box.
    """
    allow(count)
    if mode in _ALIGNED:
        if count == 1 and mode == "ALIGN_CORNERS":
            start = (start + end) / 2
        return torch.linspace(start, end, count, dtype=torch.float64)
    if end < start:
        raise UnavailableError(f"an inverted box with {mode} is not in the reference runtime")
    steps = torch.arange(count, dtype=torch.float64)
    spacing = (end - start + 1) / count
    match mode:
        case "DEFAULT":
            points = steps * spacing
        case "UNALIGN_CORNERS":
            points = (steps + 0.5) * spacing - 0.5
        case "OFFSET_CORNERS":
            points = (steps + 0.5) * max(1.0, end - start) / count
        case _:
            raise UnavailableError(f"sampling mode {mode} is not in the reference runtime")
    return (start + points).clamp(start, end)


def _scaled(size: int, factor: Tensor) -> int:
    """Return floor(size * factor), in float32 as the definition of the output's shape has it."""
    return int((factor.float() * size).floor())


def _nearest(x: Tensor, axis: int, count: int) -> Tensor:
    """Resize one axis to the pixels under the centres of the new ones."""
    allow(count * x.numel() // x.shape[axis], x.numel())
    return x.index_select(axis, (2 * torch.arange(count) + 1) * x.shape[axis] // (2 * count))


def _linear(x: Tensor, axis: int, count: int, mode: str) -> Tensor:
    """Resize one axis by linear interpolation."""
    return _interpolate(x, axis, grid(mode, count, 0, x.shape[axis] - 1))


def _interpolate(x: Tensor, axis: int, points: Tensor) -> Tensor:
    """Interpolate along one axis at points; those beyond it take its edge."""
    last = x.shape[axis] - 1
    allow(points.numel() * x.numel() // x.shape[axis], x.numel())
    points = points.clamp(0, last)
    low = points.long()
    share = (points - low).to(x.dtype).reshape([-1] + [1] * (-axis - 1))
    high = (low + 1).clamp(max=last)
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)


def _corners(boxes: Tensor, mode: str) -> Tensor:
    """Return boxes ``[N, 4]`` as (top, left, bottom, right)."""
    if mode.endswith("WIDTH_FIRST"):
        boxes = boxes[:, [1, 0, 3, 2]]
    if mode.startswith("CORNERS"):
        return boxes
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], 1)


def _crop(
    picture: Tensor, box: list[float], size: tuple[int, int], mode: str, pad_value: Tensor
) -> Tensor:
    """Crop one box from ``[B, C, H, W]``; points outside the picture take pad_value."""
    top, left, bottom, right = box
    rows, columns = grid(mode, size[0], top, bottom), grid(mode, size[1], left, right)
    crop = _interpolate(_interpolate(picture, -2, rows), -1, columns)
    outside = _beyond(rows, picture.shape[-2]).unsqueeze(1) | _beyond(columns, picture.shape[-1])
    return torch.where(outside, pad_value.to(crop.dtype), crop)


def _beyond(points: Tensor, size: int) -> Tensor:
    return (points < 0) | (points > size - 1)


def _from_minus_one(count: int) -> Tensor:
    """Return coordinates from -1 to 1; a single one is 0."""
    if count == 1:
        return torch.zeros(1, dtype=torch.float64)
    return torch.linspace(-1, 1, count, dtype=torch.float64)


def _to_pixels(points: Tensor, size: int, mode: str, aligned: bool) -> Tensor:
    """Turn coordinates into pixel numbers; normalized ones span pixel centres if aligned."""
    if mode == "unnormalized":
        return points
    if mode == "normalized_minus_one_to_one":
        points = (points + 1) / 2
    return points * (size - 1) if aligned else points * size - 0.5


def _fold(points: Tensor, size: int, padding: str) -> Tensor:
    """Map pixel numbers beyond an axis onto it, as the padding mode wants."""
    match padding:
        case "border":
            return points.clamp(0, size - 1)
        case "reflection":
            return _mirror(points, size - 1)
        case "symmetric":
            return (_mirror(points + 0.5, size) - 0.5).clamp(0, size - 1)
        case "constant":
            return points
        case _:
            raise UnavailableError(f"padding mode {padding} is not in the reference runtime")


def _mirror(points: Tensor, length: float) -> Tensor:
    """Reflect points at 0 and at `length` until they lie between."""
    if length == 0:
        return torch.zeros_like(points)
    folded = points.abs() % (2 * length)
    return torch.minimum(folded, 2 * length - folded)


def _pick(x: Tensor, column: Tensor, row: Tensor, fill: Tensor) -> Tensor:
    """Return x[b, :, row, column] at integral ``[B, h, w]`` places, `fill` where there is none."""
    height, width = x.shape[-2:]
    outside = _beyond(row, height) | _beyond(column, width)
    places = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
    rows = places.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)
    picked = x.flatten(2).gather(2, rows).reshape(*x.shape[:2], *places.shape[1:])
    return torch.where(outside.unsqueeze(1), fill, picked)
