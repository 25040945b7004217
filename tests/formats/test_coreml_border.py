"""What Core ML cannot take or give is changed at the border, recorded and verified."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.tensors import DType
from tests.in_process import convert

pytestmark = pytest.mark.filterwarnings("ignore")


class Border(nn.Module):
    """Scalars, six axes, small types; outputs that are inputs, each other, and a constant."""

    def forward(self, factor, windows, pixels, half, count):
        scaled = windows.permute(0, 1, 3, 2, 4, 5) * factor
        return {
            "peak": scaled.amax(),
            "scaled": scaled,
            "shown": pixels.float() / 255,
            "doubled": half * 2,
            "again": half * 2,
            "next": count + 1,
            "same": factor,
            "table": torch.arange(3),
        }


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    inputs = {
        "factor": torch.tensor(1.5),
        "windows": torch.randn(1, 2, 2, 2, 2, 3, generator=torch.Generator().manual_seed(0)),
        "pixels": torch.tensor([[0, 7, 255]], dtype=torch.uint8),
        "half": torch.tensor([0.1, -3.0], dtype=torch.float16),
        "count": torch.tensor(41),
    }
    folder = tmp_path_factory.mktemp("border")
    report = convert(Border(), inputs, formats=["coreml"], output_dir=folder)
    return report.results[0]


def test_it_is_verified(result):
    assert result.error is None, result.error.message
    assert result.status == "passed", result.verification.reason


def test_what_coremltools_need_not_import_can_be_imported_after_it(result):
    assert [name for name, module in sys.modules.items() if module is None] == []


@pytest.mark.parametrize(
    ("side", "name", "dtype", "shape", "source_dtype", "source_shape"),
    [
        ("inputs", "factor", DType.FLOAT32, (1,), None, ()),
        ("inputs", "windows", DType.FLOAT32, (2, 2, 2, 2, 3), None, (1, 2, 2, 2, 2, 3)),
        ("inputs", "pixels", DType.INT32, (1, 3), DType.UINT8, None),
        ("inputs", "half", DType.FLOAT32, (2,), DType.FLOAT16, None),
        ("inputs", "count", DType.INT32, (1,), DType.INT64, ()),
        ("outputs", "peak", DType.FLOAT32, (1,), None, ()),
        ("outputs", "scaled", DType.FLOAT32, (2, 2, 2, 2, 3), None, (1, 2, 2, 2, 2, 3)),
        ("outputs", "next", DType.INT32, (1,), DType.INT64, ()),
    ],
)
def test_what_was_changed_is_on_record(
    result, side, name, dtype, shape, source_dtype, source_shape
):
    signature = result.artifact.signature
    spec = next(each for each in getattr(signature, side) if each.name == name)
    assert (spec.dtype, spec.shape) == (dtype, shape)
    assert (spec.source_dtype, spec.source_shape) == (source_dtype, source_shape)
    file = edgekit.inspect(result.artifact.path).signature
    stored = next(each for each in getattr(file, side) if each.name == name)
    assert (stored.dtype, stored.shape) == (dtype, shape)


def test_a_scalar_may_be_given_as_one(result):
    feeds = {
        "factor": np.float32(-2.0),
        "windows": np.ones((2, 2, 2, 2, 3), np.float32),
        "pixels": np.array([[0, 51, 255]], np.uint8),
        "half": np.array([0.1, 2.0], np.float16),
        "count": 6,
    }
    with edgekit.open(result.artifact) as session:
        outputs = session.run(feeds)
    assert outputs["peak"].tolist() == [-2.0]
    assert outputs["same"].tolist() == [-2.0]
    assert outputs["next"].tolist() == [7]
    np.testing.assert_allclose(outputs["shown"], [[0.0, 0.2, 1.0]], rtol=1e-6)
    assert outputs["again"].tolist() == outputs["doubled"].tolist()
    assert outputs["doubled"].tolist() == [np.float16(0.1) * 2, 4.0]


@pytest.mark.parametrize(
    ("function", "x", "told"),
    [
        (lambda x: x * 2, torch.ones(2, dtype=torch.bfloat16), "no bfloat16"),
        (
            lambda x: torch.linalg.vector_norm(x.reshape(2, 2, 2, 2, 2, 2) + 1, dim=(0, 2, 4)),
            torch.ones(64),
            r"of 6 axes; Core ML knows five",
        ),
    ],
    ids=["bfloat16", "six axes"],
)
def test_a_limit_is_named(function, x, told, tmp_path):
    class Limited(nn.Module):
        def forward(self, x):
            return function(x)

    report = convert(Limited(), (x,), formats=["coreml"], output_dir=tmp_path)
    error = report.results[0].error
    assert error is not None
    assert re.search(told, error.message)
    assert error.reason == "format_limit"
