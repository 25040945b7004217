"""Matching the values of two graphs by content and by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import matching
from edgekit.matching import match, named_after

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.normal(size=(1, 6, 5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "changed",
    [
        IMAGE,
        IMAGE.transpose(0, 2, 3, 1),
        IMAGE.transpose(2, 0, 3, 1)[:, 0],
        IMAGE.reshape(30, 4),
        IMAGE.astype(np.float16),
        IMAGE + 1e-3,
    ],
)
def test_the_same_content_is_found_in_another_shape(changed: np.ndarray) -> None:
    others = {f"other{i}": RANDOM.normal(size=IMAGE.shape).astype(np.float32) for i in range(3)}
    found = match({"x": IMAGE}, {**others, "y": changed}, {})
    assert found["x"].value == "y"
    assert found["x"].sqnr_db > 55


def test_other_content_is_found_by_name_only() -> None:
    wrong = RANDOM.normal(size=IMAGE.shape).astype(np.float32)
    assert match({"conv2d": IMAGE}, {"relu": wrong}, {}) == {}
    found = match({"conv2d": IMAGE}, {"conv2d_cast_fp16": wrong, "conv2d_1": wrong[0]}, {})
    assert found["conv2d"].value in {"conv2d_cast_fp16", "conv2d_1"}
    assert found["conv2d"].sqnr_db < 10
    path = "model/stem_part/0;1"
    for layer, seen in (("model.stem_part.0", True), ("model.stem_part", False), ("", False)):
        assert bool(match({"x": IMAGE}, {f"z;;{path}": wrong}, {"x": layer})) is seen


def test_content_goes_before_name() -> None:
    wrong = RANDOM.normal(size=IMAGE.shape).astype(np.float32)
    found = match({"add_2": IMAGE}, {"add_2": wrong, "add_3": IMAGE}, {})
    assert found["add_2"].value == "add_3"


def test_values_that_overflowed_match_nothing_by_content() -> None:
    broken = np.where(IMAGE > 1, np.inf, IMAGE)
    assert match({"x": IMAGE}, {"y": broken}, {}) == {}
    assert match({"x": IMAGE}, {"x": broken}, {})["x"].sqnr_db == -np.inf


def test_a_name_belongs_to_the_longest_that_it_begins_with() -> None:
    names = ["conv2d", "conv2d_1", "relu"]
    assert named_after("conv2d_1_cast_fp16", names) == "conv2d_1"
    assert named_after("conv2d_2", names) == "conv2d"
    assert named_after("conv2dx", names) is None


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 10.0), st.floats(0.1, 30.0))
def test_the_sketch_rules_out_no_true_match(seed: int, error: float, scale: float) -> None:
    random = np.random.default_rng(seed)
    one = random.normal(size=50) * scale
    two = one + random.normal(size=50) * error
    apart = np.abs(matching._sketch(one) - matching._sketch(random.permutation(two))).max()
    assert apart <= np.sqrt(np.square(one - two).mean()) * (1 + 1e-9)
