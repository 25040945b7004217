"""Figures and verdicts where values are not finite, and what the reports make of them."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from edgekit import metrics
from edgekit.conversion import ConvertReport, FormatResult
from edgekit.recipe import load_recipe
from edgekit.reports import conversion as conversion_report
from edgekit.reports import verification as verification_report
from edgekit.tensors import DType, TensorSpec
from edgekit.verification import FAILED, PASSED, Verification, judge

TOLERANCE = load_recipe("fp16").tolerance
SPEC = TensorSpec("y", DType.FLOAT32, (3,))
RIGHT = np.array([1.0, 2.0, -3.0], np.float32)


def verdict_on(value: np.ndarray, reference: np.ndarray = RIGHT, **more: object) -> Verification:
    check = judge(SPEC, [value], [reference], TOLERANCE)
    status = PASSED if check.passed else FAILED
    return Verification(status, "; ".join(check.reasons), samples=1, outputs=(check,), **more)


def shown(verdict: Verification) -> list[str]:
    """Return what both reports print."""
    texts = []
    result = FormatResult("coreml", verdict.status, verification=verdict)
    report = ConvertReport((result,), "net.py", "fp16", "", 0, 0.0)
    for page, record in ((conversion_report, report), (verification_report, verdict)):
        sink = io.StringIO()
        page.show(record, Console(file=sink, width=200))
        texts.append(sink.getvalue())
    return texts


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("places", [[0], [0, 1, 2]])
def test_a_value_that_is_not_finite_is_an_infinite_error(odd: float, places: list[int]) -> None:
    value = RIGHT.copy()
    value[places] = odd
    for found in (metrics.compare(RIGHT, value), metrics.compare(value, RIGHT)):
        assert found.sqnr_db == -math.inf
        assert found.cosine == 0
        assert found.max_abs == found.max_rel == math.inf
        assert found.nonfinite_mismatch == len(places)
    verdict = verdict_on(value)
    assert verdict.status == FAILED
    assert verdict.reason.startswith(f"{len(places)} values are NaN or infinite where the source's")
    for text in shown(verdict):
        assert "NaN/Inf" in text
        assert "exact" not in text


def test_what_is_not_finite_on_both_sides_is_equal() -> None:
    odd = np.array([np.inf, np.nan, 2.0], np.float32)
    found = metrics.compare(odd, odd)
    assert (found.sqnr_db, found.max_abs, found.equal_share) == (math.inf, 0.0, 1.0)
    assert metrics.compare(odd, np.array([-np.inf, np.nan, 2.0])).nonfinite_mismatch == 1
    assert all("exact" in text for text in shown(verdict_on(odd, odd)))


def test_a_float16_artifact_says_both_figures() -> None:
    verdict = verdict_on(RIGHT * np.float32(1.0005), float32_sqnr_db=91.25)
    said = verification_report.both_figures(verdict)
    assert said == "SQNR 66.0 dB in float16, 91.2 dB with the same weights in float32 arithmetic"
    assert said in shown(verdict)[1]
    result = FormatResult("coreml", PASSED, verification=verdict)
    sink = io.StringIO()
    conversion_report.explain(
        ConvertReport((result,), "net.py", "fp16", "", 0, 0.0), Console(file=sink), verbose=False
    )
    assert f"coreml: {said}" in sink.getvalue().replace("\n", " ")


def test_a_verdict_survives_json() -> None:
    value = np.array([np.nan, 2.0, -3.0], np.float32)
    verdict = verdict_on(value, float32_sqnr_db=math.inf, divergence="overflows at op 'exp_0'")
    data = json.loads(json.dumps(verdict.to_json()))
    assert Verification.from_json(data) == verdict
    assert data["divergence"] == "overflows at op 'exp_0'"
    assert data["outputs"][0]["nonfinite_mismatch"] == 1
