"""Image resizing against numbers that Core ML itself gives, and against formulas done by hand.

The numbers marked "Apple" stand in coremltools' own tests, which compare them with the real
runtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import UnavailableError
from tests.mil.goldens import assert_golden, compute, f32

PICTURE = f32(np.arange(1, 17), 1, 1, 4, 4)
GRIDS = {  # resize_bilinear's definition, for an input [0, 1]
    ("UNALIGN_CORNERS", 5): [0, 0.1, 0.5, 0.9, 1],
    ("STRICT_ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1],
    ("ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1],
    ("DEFAULT", 5): [0, 0.4, 0.8, 1, 1],
    ("OFFSET_CORNERS", 5): [0.1, 0.3, 0.5, 0.7, 0.9],
    ("UNALIGN_CORNERS", 6): [0, 0, 1 / 3, 2 / 3, 1, 1],
    ("STRICT_ALIGN_CORNERS", 6): [0, 0.2, 0.4, 0.6, 0.8, 1],
    ("DEFAULT", 6): [0, 1 / 3, 2 / 3, 1, 1, 1],
    ("OFFSET_CORNERS", 6): [1 / 12, 3 / 12, 5 / 12, 7 / 12, 9 / 12, 11 / 12],
    ("STRICT_ALIGN_CORNERS", 1): [0],
    ("ALIGN_CORNERS", 1): [0.5],
    ("DEFAULT", 1): [0],
    ("UNALIGN_CORNERS", 1): [0.5],
    ("OFFSET_CORNERS", 1): [0.5],
}


@pytest.mark.parametrize(("mode", "count"), GRIDS)
def test_resize_samples_at_the_grid_points_of_the_definition(mode: str, count: int) -> None:
    grid = f32(GRIDS[mode, count])
    line = f32([0, 1], 1, 1, 2)
    for x, wanted in ((line, grid.reshape(1, 1, -1)), (line.mT, grid.reshape(1, -1, 1))):
        height, width = wanted.shape[1:]
        sizes = {"target_size_height": height, "target_size_width": width}
        assert_golden("resize_bilinear", wanted, x=x, sampling_mode=mode, **sizes)
        assert_golden("resize", wanted, x=x, shape=[height, width], resized_dims=np.uint32(2),
                      sampling_mode=mode)  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 7), st.integers(1, 9), st.sampled_from(sorted({mode for mode, _ in GRIDS})))
def test_resize_interpolates_a_ramp_exactly(size: int, count: int, mode: str) -> None:
    """On a ramp the result is the grid, which is written out here as the definition has it."""
    delta = max(1, size - 1) / count
    aligned = 0.0 if count == 1 else (size - 1) / (count - 1)
    first, step = {
        "STRICT_ALIGN_CORNERS": (0.0, aligned),
        "ALIGN_CORNERS": ((size - 1) / 2 if count == 1 else 0.0, aligned),
        "DEFAULT": (0.0, size / count),
        "OFFSET_CORNERS": (0.5 * delta, delta),
        "UNALIGN_CORNERS": (0.5 * size / count - 0.5, size / count),
    }[mode]
    wanted = [min(size - 1.0, max(0.0, first + i * step)) for i in range(count)]
    ramp = f32(range(size), 1, 1, size)
    assert_golden("resize_bilinear", f32(wanted, 1, 1, count), x=ramp, target_size_height=1,
                  target_size_width=count, sampling_mode=mode, rtol=1e-5)  # fmt: skip


def test_resize_chooses_axes_from_the_right() -> None:
    x = f32(range(24), 1, 2, 3, 4)
    got = compute("resize", like=np.zeros((1, 2, 6, 4), np.float32), x=x, shape=[9, 6, 0],
                  resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS")  # fmt: skip
    want = torch.nn.functional.interpolate(torch.from_numpy(x), (6, 4), mode="bilinear")
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_nearest_neighbours() -> None:
    line = f32([-6.174, 9.371], 1, 1, 2, 1)
    three = f32([-6.174, -6.174, 9.371, 9.371, 9.371, 9.371], 1, 1, 3, 2)
    assert_golden("resize", three, x=line, shape=[1, 1, 3, 2], resized_dims=np.uint32(2),
                  interpolation_mode="NEAREST_NEIGHBOR")  # Apple  # fmt: skip
    assert_golden("resize_nearest_neighbor", three, x=line, target_size_height=3,
                  target_size_width=2)  # fmt: skip
    # TensorFlow's half_pixel_centers, to which coremltools maps it: floor((i + 0.5) * 2 / 6)
    assert_golden("resize_nearest_neighbor", f32([0, 0, 0, 1, 1, 1], 1, 1, 6),
                  x=f32([0, 1], 1, 1, 2), target_size_height=1, target_size_width=6)  # fmt: skip
    x = f32([1.5, -2.5, 3.5], 1, 1, 1, 3)
    for height, width, wanted in (
        (3.17, 0.67, [[1.5, -2.5]] * 3), (2.0, 1.12, [[1.5, -2.5, 3.5]] * 2),  # Apple
        (1.0, 2.0, [[1.5, 1.5, -2.5, -2.5, 3.5, 3.5]]),  # Apple
    ):  # fmt: skip
        assert_golden("upsample_nearest_neighbor", f32([[wanted]]), x=x,
                      scale_factor_height=height, scale_factor_width=width)  # fmt: skip


@pytest.mark.parametrize("mode", ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS"])
def test_nearest_on_a_grid_that_nothing_documents_is_refused(mode: str) -> None:
    with pytest.raises(UnavailableError, match="not in the reference runtime"):
        compute("resize", like=PICTURE, x=PICTURE, shape=[4, 4], resized_dims=np.uint32(2),
                interpolation_mode="NEAREST_NEIGHBOR", sampling_mode=mode)  # fmt: skip


@pytest.mark.parametrize(
    ("opset", "flags", "row"),
    [
        ("iOS15", {"align_corners": True}, [1, 1.2, 1.4, 1.6, 1.8, 2]),
        ("iOS15", {"align_corners": False}, [1, 1, 4 / 3, 5 / 3, 2, 2]),
        ("iOS16", {"align_corners": False, "half_pixel_centers": True}, [1, 1, 4 / 3, 5 / 3, 2, 2]),
        (
            "iOS16",
            {"align_corners": False, "half_pixel_centers": False},
            [1, 4 / 3, 5 / 3, 2, 2, 2],
        ),
    ],  # Apple
)
def test_upsample_bilinear(opset: str, flags: dict[str, bool], row: list[float]) -> None:
    assert_golden("upsample_bilinear", f32([row, row], 1, 1, 2, 6), x=f32([1, 2], 1, 1, 1, 2),
                  scale_factor_height=2, scale_factor_width=3, opset=opset, **flags)  # fmt: skip


def test_upsample_bilinear_by_fractions() -> None:
    # Apple
    assert_golden("upsample_bilinear", f32([0, 0.1, 0.5, 0.9, 1], 1, 1, 5), x=f32([0, 1], 1, 1, 2),
                  scale_factor_height=1.0, scale_factor_width=2.6, align_corners=False)  # fmt: skip
    x = f32(np.random.default_rng(1).normal(size=(2, 3, 6, 10)))
    for align in (True, False):
        want = torch.nn.functional.interpolate(
            torch.from_numpy(x), scale_factor=(2.5, 0.75), mode="bilinear", align_corners=align,
            recompute_scale_factor=True,
        )  # fmt: skip
        assert_golden("upsample_bilinear", want.numpy(), x=x, scale_factor_height=2.5,
                      scale_factor_width=0.75, align_corners=align, rtol=1e-5)  # fmt: skip


def test_crop() -> None:
    wanted = f32([2, 3, 6, 7, 10, 11], 1, 1, 3, 2)  # Apple
    assert_golden("crop", wanted, x=PICTURE, crop_height=[0, 1], crop_width=[1, 1])


CROPS: list[Any] = [
    ([1, 1, 2, 2], False, 2, [6, 7, 10, 11]),
    ([1, 1, 2, 2], False, 1, [8.5]),
    ([1, 1, 2, 2], False, 4, [6 + i / 3 + 4 * j / 3 for j in range(4) for i in range(4)]),
    ([0, 0, 1 / 3, 1 / 3], True, 2, [1, 2, 5, 6]),
    ([2, 2, 1, 1], False, 2, [11, 10, 7, 6]),
]  # Apple


@pytest.mark.parametrize(("box", "normalized", "size", "wanted"), CROPS)
def test_crop_resize_with_aligned_corners(
    box: list[float], normalized: bool, size: int, wanted: list[float]
) -> None:
    common = {"x": PICTURE, "target_height": size, "target_width": size,
              "normalized_coordinates": normalized, "sampling_mode": "ALIGN_CORNERS"}  # fmt: skip
    result = f32(wanted, 1, 1, 1, size, size)
    roi, indexed = f32(box, 1, 1, 4, 1, 1), f32([0, *box], 1, 1, 5, 1, 1)
    assert_golden("crop_resize", result, opset="iOS15", roi=roi, **common)
    assert_golden("crop_resize", result, opset="iOS15", roi=indexed, **common)
    assert_golden("crop_resize", result[0], opset="iOS17", boxes=f32([box]), **common)


@pytest.mark.parametrize("pad", [0.0, 10.0])
def test_crop_resize_pads_points_outside(pad: float) -> None:
    boxes = f32([[0.1, 0.3, 1.3, 1.0], [0.5, 1.8, 1.0, 0.3], [0.0, 0.4, 0.6, 0.7]])
    wanted = f32([3.1, 5.2, pad, pad, pad, 7.9, pad, 13.9, 2.2, 3.1, 9.4, 10.3], 3, 1, 1, 2, 2)
    common = {"x": PICTURE, "target_height": 2, "target_width": 2, "normalized_coordinates": True,
              "sampling_mode": "ALIGN_CORNERS", "pad_value": pad}  # fmt: skip
    roi = np.concatenate([np.zeros((3, 1), np.float32), boxes], 1).reshape(3, 1, 5, 1, 1)
    assert_golden("crop_resize", wanted, opset="iOS16", roi=roi, **common)  # Apple
    indices = np.zeros(3, np.int32)
    assert_golden("crop_resize", wanted[:, 0], boxes=boxes, box_indices=indices, **common)  # Apple


def test_crop_resize_boxes_and_images() -> None:
    x = np.stack([PICTURE[0], -PICTURE[0]])
    common = {"x": x, "target_height": 2, "target_width": 3, "sampling_mode": "ALIGN_CORNERS"}
    first = f32([[2, 2.5, 3], [10, 10.5, 11]])  # rows 0 and 2, columns 1, 1.5 and 2
    roi = f32([0, 1, 2, 2], 1, 1, 4, 1, 1)
    assert_golden("crop_resize", np.stack([first, -first]).reshape(1, 2, 1, 2, 3), roi=roi,
                  opset="iOS15", **common)  # fmt: skip
    for mode, box in {
        "CORNERS_HEIGHT_FIRST": [0, 1, 2, 2], "CORNERS_WIDTH_FIRST": [1, 0, 2, 2],
        "CENTER_SIZE_HEIGHT_FIRST": [1, 1.5, 2, 1], "CENTER_SIZE_WIDTH_FIRST": [1.5, 1, 1, 2],
    }.items():  # fmt: skip
        assert_golden("crop_resize", -first.reshape(1, 1, 2, 3), boxes=f32([box]) * 2,
                      box_indices=np.array([1], np.int32), spatial_scale=0.5,
                      box_coordinate_mode=mode, **common)  # fmt: skip


@pytest.mark.parametrize("mode", sorted({mode for mode, _ in GRIDS}))
def test_crop_of_a_whole_picture_is_a_resize(mode: str) -> None:
    sizes = {"target_size_height": 3, "target_size_width": 7}
    want = compute("resize_bilinear", like=np.zeros((1, 1, 3, 7), np.float32), x=PICTURE,
                   sampling_mode=mode, **sizes)  # fmt: skip
    assert_golden("crop_resize", want, x=PICTURE, boxes=f32([[0, 0, 1, 1]]), target_height=3,
                  target_width=7, normalized_coordinates=True, sampling_mode=mode)  # fmt: skip


def test_an_inverted_box_without_aligned_corners_is_refused() -> None:
    with pytest.raises(UnavailableError, match="inverted box"):
        compute("crop_resize", like=np.zeros((1, 1, 1, 1), np.float32), x=PICTURE,
                boxes=f32([[2, 2, 1, 1]]))  # fmt: skip


SAMPLES: list[Any] = [
    ("bilinear", "constant", "normalized_minus_one_to_one", True, 6.17, [8.585, 6.17, 27.5, 6.17]),
    ("nearest", "border", "unnormalized", False, -1.0, [11, 11, 11, 44]),
    ("bilinear", "reflection", "normalized_zero_to_one", True, -1.0, [22, 36.3, 11, 34.1]),
    ("nearest", "symmetric", "normalized_zero_to_one", False, -1.0, [22, 33, 11, 33]),
]  # Apple


@pytest.mark.parametrize(("sampling", "padding", "mode", "align", "fill", "wanted"), SAMPLES)
def test_resample(
    sampling: str, padding: str, mode: str, align: bool, fill: float, wanted: list[float]
) -> None:
    assert_golden("resample", f32(wanted, 1, 1, 2, 2), x=f32([11, 22, 33, 44], 1, 1, 2, 2),
                  coordinates=f32([-1, -2, -3.7, -1, 0, 0, 3.5, 1.2], 1, 2, 2, 2),
                  sampling_mode=sampling, padding_mode=padding, coordinates_mode=mode,
                  padding_value=fill, align_corners=align, rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_resample_is_grid_sample(sampling: str, align: bool, padding: str) -> None:
    random = np.random.default_rng(3)
    x = f32(random.normal(size=(2, 3, 4, 5)))
    points = f32(random.uniform(-2.5, 2.5, (2, 6, 7, 2)))
    want = torch.nn.functional.grid_sample(
        torch.from_numpy(x), torch.from_numpy(points), sampling, padding, align
    )
    mil = {"zeros": "constant", "reflection": "reflection" if align else "symmetric"}
    assert_golden("resample", want.numpy(), x=x, coordinates=points, sampling_mode=sampling,
                  padding_mode=mil.get(padding, padding), padding_value=0.0, align_corners=align,
                  coordinates_mode="normalized_minus_one_to_one", rtol=1e-5)  # fmt: skip


def test_affine() -> None:
    common = {
        "x": f32([11, 22, 33, 44], 1, 1, 2, 2), "sampling_mode": "bilinear",
        "transform_matrix": f32([[-1, -2, -3.7, -1, 3.5, 1.2]]), "padding_mode": "constant",
        "padding_value": 0.0, "coordinates_mode": "normalized_minus_one_to_one",
        "align_corners": True, "rtol": 1e-5,
    }  # fmt: skip
    for height, width, wanted in (
        (3, 3, [10.7525, 2.5025, 0, 1.98, 0, 0, 0, 0, 0]),
        (2, 5, [10.7525, 5.94, 2.5025, 0.44, 0, 0, 0, 0, 0, 0]),
    ):  # Apple
        assert_golden("affine", f32(wanted, 1, 1, height, width), output_height=height,
                      output_width=width, **common)  # fmt: skip
